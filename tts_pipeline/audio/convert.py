"""Convert audio to the format and sample rate of a dataset."""

from __future__ import annotations

from tts_pipeline.audio.encodings import OUTPUT_FORMATS, encoding_of
from tts_pipeline.config import AS_RECEIVED, MAX_CLIP_S, AudioSettings
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.models import Audio


def check_settings(settings: AudioSettings) -> None:
    """Refuse settings that some audio could not be converted to; call it before a job buys anything.

    Raises:
        ConfigurationError: The format is unknown, or cannot carry the sample rate.
    """
    if settings.format not in OUTPUT_FORMATS:
        near = did_you_mean(settings.format, OUTPUT_FORMATS)
        raise ConfigurationError(
            f"unknown audio format {settings.format!r}", hint=f"{near}Use one of {', '.join(OUTPUT_FORMATS)}"
        )
    rate_hz = settings.sample_rate_hz
    # The received format is not known yet, and MP3 takes the fewest rates.
    encoding = encoding_of("mp3" if settings.format == AS_RECEIVED else settings.format)
    # WAV and FLAC could carry rates below telephone quality, but no speech would be left.
    if rate_hz is None or (rate_hz >= _MIN_SPEECH_RATE_HZ and encoding.can_carry(rate_hz)):
        return
    allowed = encoding.rates_hz or (f"{_MIN_SPEECH_RATE_HZ} to {encoding.maximum_hz}",)
    raise ConfigurationError(
        f"audio in {settings.format} cannot have {rate_hz} samples a second",
        hint=f"it can have {', '.join(map(str, allowed))}",
    )


_MIN_SPEECH_RATE_HZ = 8_000


def convert(audio: Audio, settings: AudioSettings, max_s: float = MAX_CLIP_S) -> Audio:
    """Return audio in the format and at the sample rate of the settings; the same object if it already has both.

    Every encoding keeps the number of samples (see ``encodings``), so the duration changes only by resampling, by at
    most half a sample. If the format cannot carry a rate that the service chose, the audio is resampled to the next
    higher rate. ``max_s`` is higher for audio that was joined from several answers.

    Raises:
        TransientError: ``MalformedAudio``: the audio does not decode, or has no sound. Retried; may have been billed.
        PermanentError: ``UnsupportedAudio``: we cannot decode the format; ``ImplausibleAudio`` or ``ClipTooLong`` (see
            ``clip_limits``). Never retried; may have been billed.
    """
    name, rate_hz = target_format(audio, settings)
    if (name, rate_hz) == (audio.format, audio.sample_rate_hz):
        return audio
    # Imported here, because soundfile and numpy load slowly and most jobs keep the received audio.
    from tts_pipeline.audio.samples import encode, open_stream

    encoding = encoding_of(name)
    with open_stream(audio, max_s) as stream:
        return encode(stream.resampled(rate_hz), encoding)


def target_format(audio: Audio, settings: AudioSettings) -> tuple[str, int]:
    """Return the format and the sample rate of the converted audio; its own where the settings leave them open.

    Raises:
        PermanentError: ``UnsupportedAudio``: the settings request another rate in a format that we cannot write.
    """
    name = audio.format if settings.format == AS_RECEIVED else settings.format
    rate_hz = settings.sample_rate_hz or audio.sample_rate_hz
    if (name, rate_hz) == (audio.format, audio.sample_rate_hz):
        return name, rate_hz
    return name, encoding_of(name).rate_for(rate_hz)

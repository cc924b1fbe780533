"""Convert audio to the format and sample rate of a dataset."""

from __future__ import annotations

from tts_pipeline.audio.encodings import OUTPUT_FORMATS, encoding_of
from tts_pipeline.config import AS_RECEIVED, MAX_CLIP_S, AudioSettings
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.models import Audio


def check_settings(settings: AudioSettings) -> None:
    """Refuse settings that some audio could not be brought to; called before a job, so that nothing is bought first.

    Raises:
        ConfigurationError: An unknown format, or a sample rate that it cannot carry.
    """
    if settings.format not in OUTPUT_FORMATS:
        near = did_you_mean(settings.format, OUTPUT_FORMATS)
        raise ConfigurationError(
            f"No audio format {settings.format!r}.", hint=f"{near}It is one of {', '.join(OUTPUT_FORMATS)}."
        )
    rate_hz = settings.sample_rate_hz
    # What will be received is not known yet, and MP3 takes the fewest rates.
    encoding = encoding_of("mp3" if settings.format == AS_RECEIVED else settings.format)
    # Below telephone quality there is no speech to keep, although WAV and FLAC could carry it.
    if rate_hz is None or (rate_hz >= _MIN_SPEECH_RATE_HZ and encoding.can_carry(rate_hz)):
        return
    allowed = encoding.rates_hz or (f"{_MIN_SPEECH_RATE_HZ} to {encoding.maximum_hz}",)
    raise ConfigurationError(
        f"Audio in {settings.format} cannot have {rate_hz} samples a second.",
        hint=f"it can have {', '.join(map(str, allowed))}",
    )


_MIN_SPEECH_RATE_HZ = 8_000


def convert(audio: Audio, settings: AudioSettings, max_s: float = MAX_CLIP_S) -> Audio:
    """Return audio in the wanted format and at the wanted sample rate; the very object given where it is so already.

    The number of samples is kept by every encoding (see ``encodings``), so the duration is too, but for at most half a
    sample where it is resampled. A rate that the service chose and the wanted format cannot carry is resampled to the
    next higher one. ``max_s`` is more for audio that was joined from several answers.

    Raises:
        TransientError: ``MalformedAudio``: it does not decode, or has no sound. Retried; may have been billed.
        PermanentError: ``UnsupportedAudio``: a format that cannot be decoded here; ``ImplausibleAudio`` or
            ``ClipTooLong`` (see ``bounds``). Never retried; may have been billed.
    """
    name, rate_hz = target_format(audio, settings)
    if (name, rate_hz) == (audio.format, audio.sample_rate_hz):
        return audio
    # Imported here: soundfile and numpy take a while, and most jobs keep what is received.
    from tts_pipeline.audio.samples import encode, open_stream

    encoding = encoding_of(name)
    with open_stream(audio, max_s) as stream:
        return encode(stream.resampled(rate_hz), encoding)


def target_format(audio: Audio, settings: AudioSettings) -> tuple[str, int]:
    """Return the format and the sample rate that audio is to have; its own where nothing else is wanted.

    Raises:
        PermanentError: ``UnsupportedAudio``: another rate is wanted of a format that cannot be written here.
    """
    name = audio.format if settings.format == AS_RECEIVED else settings.format
    rate_hz = settings.sample_rate_hz or audio.sample_rate_hz
    if (name, rate_hz) == (audio.format, audio.sample_rate_hz):
        return name, rate_hz
    return name, encoding_of(name).rate_for(rate_hz)

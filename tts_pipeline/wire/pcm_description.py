"""Find the sample rate of headerless PCM in the JSON around it."""

from __future__ import annotations

from itertools import islice

from tts_pipeline.audio.identify import locate_audio
from tts_pipeline.wire.audio_content import AudioContent
from tts_pipeline.wire.pcm_facts import is_fact_name
from tts_pipeline.wire.search import leaves

_MAX_LEAVES = 1_000
_MAX_VALUE_CHARACTERS = 60
_ANY_TYPE = "audio/*"


def with_media_type(audio: AudioContent, payload: object) -> AudioContent:
    """Return samples with all that is said of them as their media type; audio with a header of its own as it is.

    ``{"data": {"audio": "<samples>"}, "extra_info": {"audio_sample_rate": 16000}}`` (MiniMax, 2026-11) has the media
    type ``audio/*;audio_sample_rate=16000``.
    """
    if not audio.data or locate_audio(audio.data)[1] is not None:
        return audio
    fields = ((leaf.name.rpartition(".")[2], leaf.value) for leaf in islice(leaves(payload), _MAX_LEAVES))
    facts = [f"{name}={value}" for name, value in fields if is_fact_name(name) and _is_plain(value)]
    return audio._replace(content_type=";".join((audio.content_type or _ANY_TYPE, *facts))) if facts else audio


def _is_plain(value: object) -> bool:
    return isinstance(value, (int, float)) or (
        isinstance(value, str) and len(value) <= _MAX_VALUE_CHARACTERS and ";" not in value
    )

"""What JSON documents say of the headerless samples in them: their rate, beside them or anywhere around them."""

from __future__ import annotations

from itertools import islice

from tts_pipeline.audio.identify import located
from tts_pipeline.wire.media_type import is_fact
from tts_pipeline.wire.payload import Sound
from tts_pipeline.wire.search import leaves

_MOST_LEAVES = 1_000
_LONGEST = 60
_ANY_TYPE = "audio/*"


def described(sound: Sound, payload: object) -> Sound:
    """Return samples with all that is said of them as their media type; audio with a header of its own as it is.

    ``{"data": {"audio": "<samples>"}, "extra_info": {"audio_sample_rate": 16000}}`` (MiniMax, 2026-11) has the media
    type ``audio/*;audio_sample_rate=16000``.
    """
    if not sound.data or located(sound.data)[1] is not None:
        return sound
    named = ((leaf.name.rpartition(".")[2], leaf.value) for leaf in islice(leaves(payload), _MOST_LEAVES))
    told = [f"{name}={value}" for name, value in named if is_fact(name) and _is_plain(value)]
    return sound._replace(content_type=";".join((sound.content_type or _ANY_TYPE, *told))) if told else sound


def _is_plain(value: object) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and len(value) <= _LONGEST and ";" not in value)

"""Find audio under unknown JSON names: by its first bytes, or by a link to an audio file.

Used where the names that are known have none. What a request sent and an answer repeats (a voice to be cloned) is no
answer, so names like ``input`` are passed over; where two different things could be meant, neither is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tts_pipeline.audio.identify import identify, locate_audio
from tts_pipeline.wire.audio_content import AudioContent, audio_at_url, audio_from_text, media_type_of
from tts_pipeline.wire.json_documents import parse_json
from tts_pipeline.wire.messages import clean_message
from tts_pipeline.wire.pcm_facts import is_fact_name
from tts_pipeline.wire.text_decoder import MIN_TEXT_CHARACTERS, TextDecoder, decode_head

_MAX_DEPTH = 12
_MAX_LEAVES = 20_000
_MAX_LONG_STRINGS = 200
"""How much of an answer is searched."""

_ECHO_NAMES = re.compile(r"(?:^|\.)(?:input|request|prompt|ref(?:erence)?(?:_|\.|audio|$))", re.IGNORECASE)
_ALTERNATIVES = frozenset({"candidates", "choices", "generations"})
"""Lists of several answers to one question: the first is taken."""

_DATA_NAMES = frozenset({"data", "content", "bytes", "body", "audio", "chunk", "payload"})
"""Where an object that tells a media type has its data, also headerless samples: Gemini's ``inlineData.data``."""

_LINK = re.compile(r"https?://", re.IGNORECASE)
_AUDIO_FILE = re.compile(r"\.(?:wav|mp3|flac|ogg|oga|opus|aac|m4a|pcm|webm)$", re.IGNORECASE)
_LINK_NAME = re.compile(
    r"(?:audio|speech|sound|file|download|media|output|result)s?_?-?(?:url|uri|link|href)s?$|audio_?file$", re.I
)
_UNRELATED_LINK = re.compile(
    r"image|video|avatar|cover|subtitle|lyric|callback|webhook|doc|preview|sample|status", re.I
)


class Leaf(NamedTuple):
    """One value in a JSON document that is neither an object nor a list, and the media type of the object around it.

    The name has the names on the way to it, with dots; the places in lists are left out, so that all chunks of a list
    have one name.
    """

    name: str
    value: Any
    media_type: str | None


def leaves(value: object, name: str = "", depth: int = 0) -> Iterator[Leaf]:
    """Yield the values in a document, in order, also of JSON inside its strings; no deeper than 12 levels."""
    if isinstance(value, dict):
        media_type = media_type_of(value)
        children = [(f"{name}.{key}" if name else key, child) for key, child in value.items()]
    elif (data := _bytes_in(value)) is not None:
        yield Leaf(name, data, None)
        return
    elif isinstance(value, list):
        media_type = None
        children = [(name, child) for child in (value[:1] if name.rpartition(".")[2] in _ALTERNATIVES else value)]
    elif (inner := _inner_json(value)) is not None:
        yield from leaves(inner, name, depth + 1)
        return
    else:
        yield Leaf(name, value, None)
        return
    if depth < _MAX_DEPTH:
        for child_name, child in children:
            for leaf in leaves(child, child_name, depth + 1):
                yield leaf._replace(media_type=leaf.media_type or media_type)


def _bytes_in(value: object) -> bytes | None:
    """Return the bytes that a list of numbers stands for, as Node writes its buffers; None for any other list."""
    if not isinstance(value, list) or len(value) < MIN_TEXT_CHARACTERS or not isinstance(value[0], int):
        return None
    try:
        return bytes(value)
    except (TypeError, ValueError):
        return None


def _inner_json(value: object) -> Any:
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return None
    try:
        return parse_json(value)
    except ValueError:
        return None


def search_audio(payload: object) -> AudioContent | None:
    """Return the audio in a document under whatever name; None where there is none, or more than one."""
    groups = _strings_by_name(payload)
    audio_by_depth: dict[int, dict[bytes | None, AudioContent]] = {}
    for name, group in groups.items():
        audio = _join_group(group)
        if audio is not None:
            audio_by_depth.setdefault(name.count("."), {})[audio.data] = audio
    if not audio_by_depth:
        return _find_link(groups)
    # What is deeper is a part of it, as Hume's snippets are.
    nearest = audio_by_depth[min(audio_by_depth)]
    return next(iter(nearest.values())) if len(nearest) == 1 else None


def _strings_by_name(payload: object) -> Mapping[str, list[Leaf]]:
    groups: dict[str, list[Leaf]] = {}
    for leaf in islice(leaves(payload), _MAX_LEAVES):
        if isinstance(leaf.value, str | bytes) and leaf.value and not _ECHO_NAMES.match(leaf.name):
            groups.setdefault(leaf.name, []).append(leaf)
    return groups


def _join_group(group: Sequence[Leaf]) -> AudioContent | None:
    """Return what the strings of one name are together; chunks after the first are known by it only."""
    candidates = [index for index, leaf in enumerate(group) if len(leaf.value) >= MIN_TEXT_CHARACTERS][
        :_MAX_LONG_STRINGS
    ]
    first = next((index for index in candidates if _is_audio(group[index])), None)
    if first is None:
        return None
    if isinstance(group[first].value, bytes):
        return AudioContent(data=b"".join(leaf.value for leaf in group[first:] if isinstance(leaf.value, bytes)))
    decode = TextDecoder()
    try:
        pieces = [audio_from_text(leaf.value, None, decode) for leaf in group[first:] if isinstance(leaf.value, str)]
    except ValueError:
        return None
    data = b"".join(piece.data or b"" for piece in pieces)
    return AudioContent(data=data, content_type=group[first].media_type or pieces[0].content_type)


def _is_audio(leaf: Leaf) -> bool:
    text = leaf.value
    if isinstance(text, bytes):
        return identify(text) is not None
    if _LINK.match(text):
        return False
    try:
        head = decode_head(text.partition(",")[2] if text[:5].lower() == "data:" else text)
    except ValueError:
        return False
    has_type = leaf.media_type is not None and leaf.name.rpartition(".")[2] in _DATA_NAMES
    return has_type or locate_audio(head)[1] is not None


def _find_link(groups: Mapping[str, Sequence[Leaf]]) -> AudioContent | None:
    links: dict[int, set[str]] = {}
    for name, group in groups.items():
        texts = (leaf.value.strip() for leaf in group if isinstance(leaf.value, str))
        for link in filter(_LINK.match, texts):
            score = 0 if _UNRELATED_LINK.search(name.rpartition(".")[2]) else _link_score(name, link)
            links.setdefault(score, set()).add(link)
    best = max(links, default=0)
    return audio_at_url(links[best].pop()) if best and len(links[best]) == 1 else None


def _link_score(name: str, link: str) -> int:
    """Return how likely a link leads to audio: 0 is not at all."""
    try:
        is_file = _AUDIO_FILE.search(urlsplit(link).path) is not None
    except ValueError:
        return 0
    return 2 * is_file + (_LINK_NAME.search(name.replace(".", "_")) is not None)


def has_possible_audio(payload: object) -> bool:
    """Whether a document has a string that could be audio which we cannot read: long, without spaces, no link."""
    return any(
        isinstance(leaf.value, str)
        and len(leaf.value) >= MIN_TEXT_CHARACTERS
        and leaf.value[:256].isascii()
        and not (_LINK.match(leaf.value) or any(character.isspace() for character in leaf.value[:256].strip()))
        for leaf in islice(leaves(payload), _MAX_LEAVES)
    )


def describe_keys(payload: object) -> str:
    """Say what a document is by its keys, never by its values: ``JSON with the keys code, data.id``."""
    if not isinstance(payload, dict | list):
        return f"a JSON {_TYPE_NAMES.get(type(payload), 'number')}"
    names = dict.fromkeys(leaf.name for leaf in islice(leaves(payload), _MAX_LEAVES))
    keys = [name for name in names if name] or (list(payload) if isinstance(payload, dict) else [])
    key_list = ", ".join(key[:60] if key.isprintable() else "?" for key in keys[:_MAX_KEYS])
    remainder = f" and {len(keys) - _MAX_KEYS} more" if len(keys) > _MAX_KEYS else ""
    return clean_message(f"JSON with the keys {key_list}{remainder}") if keys else "JSON without keys"


_MAX_KEYS = 12
_TYPE_NAMES = {str: "string", type(None): "null", bool: "boolean"}


_MAX_DESCRIPTION_LEAVES = 1_000
_MAX_VALUE_CHARACTERS = 60
_ANY_TYPE = "audio/*"


def with_media_type(audio: AudioContent, payload: object) -> AudioContent:
    """Give headerless samples a media type of all that their JSON says of them; other audio stays as it is.

    ``{"data": {"audio": "<samples>"}, "extra_info": {"audio_sample_rate": 16000}}`` (MiniMax, 2026-11) has the media
    type ``audio/*;audio_sample_rate=16000``.
    """
    if not audio.data or locate_audio(audio.data)[1] is not None:
        return audio
    fields = ((leaf.name.rpartition(".")[2], leaf.value) for leaf in islice(leaves(payload), _MAX_DESCRIPTION_LEAVES))
    facts = [f"{name}={value}" for name, value in fields if is_fact_name(name) and _is_plain(value)]
    return audio._replace(content_type=";".join((audio.content_type or _ANY_TYPE, *facts))) if facts else audio


def _is_plain(value: object) -> bool:
    return isinstance(value, (int, float)) or (
        isinstance(value, str) and len(value) <= _MAX_VALUE_CHARACTERS and ";" not in value
    )

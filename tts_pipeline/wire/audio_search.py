"""Find audio under unknown JSON names, by its first bytes or as a link to an audio file.

The search runs when no known name holds audio. It skips names like ``input``, because an answer may echo audio of the
request (a voice to clone). When two different values could be the audio, it takes neither.
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
"""Limits of the search within an answer."""

_ECHO_NAMES = re.compile(r"(?:^|\.)(?:input|request|prompt|ref(?:erence)?(?:_|\.|audio|$))", re.IGNORECASE)
_ALTERNATIVES = frozenset({"candidates", "choices", "generations"})
"""Lists of alternative answers to one request: the first is taken."""

_DATA_NAMES = frozenset({"data", "content", "bytes", "body", "audio", "chunk", "payload"})
"""Names of the data in an object with a media type, also of headerless samples: Gemini's ``inlineData.data``."""

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

    The name is the path of names to the value, joined by dots; it leaves out list indices, so that all chunks of a list
    have one name.
    """

    name: str
    value: Any
    media_type: str | None


def leaves(value: object, name: str = "", depth: int = 0) -> Iterator[Leaf]:
    """Yield the values in a document, in order, also those of JSON inside its strings, down to 12 levels."""
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
    """Return the bytes of a list of numbers, the form in which Node writes its buffers; None for any other list."""
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
    """Return the audio in a document under any name; None without audio, or with several candidates."""
    groups = _strings_by_name(payload)
    audio_by_depth: dict[int, dict[bytes | None, AudioContent]] = {}
    for name, group in groups.items():
        audio = _join_group(group)
        if audio is not None:
            audio_by_depth.setdefault(name.count("."), {})[audio.data] = audio
    if not audio_by_depth:
        return _find_link(groups)
    # Deeper audio is a part of it, such as Hume's snippets.
    nearest = audio_by_depth[min(audio_by_depth)]
    return next(iter(nearest.values())) if len(nearest) == 1 else None


def _strings_by_name(payload: object) -> Mapping[str, list[Leaf]]:
    groups: dict[str, list[Leaf]] = {}
    for leaf in islice(leaves(payload), _MAX_LEAVES):
        if isinstance(leaf.value, str | bytes) and leaf.value and not _ECHO_NAMES.match(leaf.name):
            groups.setdefault(leaf.name, []).append(leaf)
    return groups


def _join_group(group: Sequence[Leaf]) -> AudioContent | None:
    """Return the audio of all strings of one name; only the first chunk must look like audio."""
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
    """Return a score of how likely a link leads to audio; 0 is not at all."""
    try:
        is_file = _AUDIO_FILE.search(urlsplit(link).path) is not None
    except ValueError:
        return 0
    return 2 * is_file + (_LINK_NAME.search(name.replace(".", "_")) is not None)


def has_possible_audio(payload: object) -> bool:
    """Return whether a document has a string that may be unreadable audio: long, without spaces, not a link."""
    return any(
        isinstance(leaf.value, str)
        and len(leaf.value) >= MIN_TEXT_CHARACTERS
        and leaf.value[:256].isascii()
        and not (_LINK.match(leaf.value) or any(character.isspace() for character in leaf.value[:256].strip()))
        for leaf in islice(leaves(payload), _MAX_LEAVES)
    )


def describe_keys(payload: object) -> str:
    """Describe a document by its keys, never by its values: ``JSON with the keys code, data.id``."""
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
    """Add the facts that a JSON document states about headerless samples to their media type; keep other audio as is.

    ``{"data": {"audio": "<samples>"}, "extra_info": {"audio_sample_rate": 16000}}`` (MiniMax, 2026-11) becomes the
    media type ``audio/*;audio_sample_rate=16000``.
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

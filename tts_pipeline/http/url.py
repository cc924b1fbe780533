"""Normalise URLs as httpx does, which refuses more of them than aiohttp.

httpx is imported only for a URL that is not plain, because the import takes 26 ms, and most services' URLs are plain.
"""

from __future__ import annotations

import re

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_HOST = rf"localhost|{_OCTET}(?:\.{_OCTET}){{3}}|[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*\.[a-z]{{2,}}|[a-z][a-z0-9-]*"
_PORT = r":(?:[1-9]\d{3}|[1-5]\d{4}|6[0-4]\d{3})"
_PATH = r"(?:/(?!\.)(?:[A-Za-z0-9_.~!$&'()*+,;=:@-]++|%[0-9A-Fa-f]{2})*+)++"
_QUERY = r"\?(?:[A-Za-z0-9_.~!$&'()*+,;=:@/?-]++|%[0-9A-Fa-f]{2})*+"
_PLAIN_URL = re.compile(rf"(?P<origin>https?://(?!\S*xn--)(?P<host>{_HOST})(?:{_PORT})?)(?:{_PATH}(?:{_QUERY})?)?")
"""A URL that httpx leaves as it is: lower case, no default port, no dot segment, nothing to encode."""
_MAX_PLAIN_CHARACTERS = 4_096


class InvalidUrlError(ValueError):
    """A text is no URL."""


def join_url(base: str, target: str) -> str:
    """Return the normalised URL of ``target``, which may be relative to ``base``.

    Raises:
        InvalidUrlError: httpx refuses one of them.
    """
    if _match_plain(target):
        return target
    import httpx

    try:
        parsed = httpx.URL(target)
        return str(parsed if parsed.is_absolute_url or not base else httpx.URL(base).join(parsed))
    except httpx.InvalidURL as error:
        raise InvalidUrlError(str(error)) from None


def host_of(url: str) -> str:
    """Return the host of a URL; empty for a text that is no URL."""
    plain = _match_plain(url)
    if plain:
        return plain["host"]
    import httpx

    try:
        return httpx.URL(url).host
    except (httpx.InvalidURL, ValueError):  # a label that is no Punycode
        return ""


def origin_of_plain(url: str) -> str | None:
    """Return the scheme, host and port of a URL that httpx leaves as it is; None for any other URL."""
    plain = _match_plain(url)
    return plain["origin"] if plain else None


def _match_plain(url: str) -> re.Match[str] | None:
    return _PLAIN_URL.fullmatch(url) if len(url) <= _MAX_PLAIN_CHARACTERS else None

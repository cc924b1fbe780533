"""Access control of the page: who may ask, and what a browser may do with an answer."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "media", "connect")),
        *(f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
"""Nothing but the page's own files; text is text, since no sink of markup takes any."""

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def guard_middleware(host: str) -> Middleware:
    """Return a middleware that refuses foreign names and says with every answer what it may do.

    A site can have its own name resolve to this machine and so read the page as its own (DNS rebinding); but the
    browser then tells that name. An address cannot be had by anybody else, nor can ``localhost``.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_own_name(request.headers.get("Host", ""), host):
            raise web.HTTPForbidden(text="this page is not served under that name\n", headers=_HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(_HEADERS)
            raise
        response.headers.update(_HEADERS)
        return response

    return guard


def is_own_name(host_header: str, host: str) -> bool:
    """Return whether a ``Host`` header is an address, ``localhost`` or the name that was chosen."""
    try:
        name = urlsplit(f"//{host_header}").hostname or ""
    except ValueError:
        return False
    if name.lower() in {"localhost", host.lower()}:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

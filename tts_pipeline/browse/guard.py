"""Control access to the page: refuse foreign host names, and restrict browsers by response headers."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "media", "connect")),
        *(f"{directive} 'none'" for directive in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
"""Only the page's own files load, and text stays text, because no DOM sink takes markup."""

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def guard_middleware(host: str) -> Middleware:
    """Return a middleware that refuses foreign host names and adds security headers to every answer.

    A site can let its own name resolve to this machine and read the page as its own (DNS rebinding), but then the
    browser sends that name as ``Host``. No site can own an IP address of this machine, or ``localhost``.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_own_name(request.headers.get("Host", ""), host):
            raise web.HTTPForbidden(text="this page is not served under this host name\n", headers=_HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(_HEADERS)
            raise
        response.headers.update(_HEADERS)
        return response

    return guard


def is_own_name(host_header: str, host: str) -> bool:
    """Return whether a ``Host`` header is an IP address, ``localhost`` or the server's own ``host``."""
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

"""The page that people look at: a few files, which know nothing. What it shows it asks for as anybody else would."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from edgeroot.verifier.server.http import Request, Response
from edgeroot.verifier.server.routes import Route, Routes

FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/views.js": ("views.js", "text/javascript; charset=utf-8"),
    "/picture.js": ("picture.js", "text/javascript; charset=utf-8"),
    "/parts.js": ("parts.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""By path: the file in the folder ``page``, and its type."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
}


def page_routes() -> Routes:
    """The files, read now."""
    return {("GET", path): _route(name, media_type) for path, (name, media_type) in FILES.items()}


def _route(name: str, media_type: str) -> Route:
    content = (files("edgeroot.verifier.server") / "page" / name).read_bytes()
    response = Response(status=200, body=content, media_type=media_type, headers=_HEADERS)

    def answer(_request: Request, _argument: str) -> Response:
        return response

    return Route("page", answer)

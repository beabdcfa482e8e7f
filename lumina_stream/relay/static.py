"""The dashboard's files: `/` and `/assets/*`, as Vite built them into the package.

A file is found by its bare name in one folder, so no path can lead out of it. What is read once is
kept, and read again when the file changed.
"""

import gzip
import re
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumina_stream.relay.routes import missing

FOLDER = Path(__file__).parents[1] / "dashboard" / "static"

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_PAGE_HEADERS = _COMMON | {"Content-Security-Policy": CSP, "Cache-Control": "no-store"}
# Vite writes a hash of the content into the name: under one name there is one content, for ever.
_ASSET_HEADERS = _COMMON | {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Vary": "Accept-Encoding",
}
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".woff2": "font/woff2",
}
_COMPRESSED = frozenset({".js", ".css", ".svg", ".json"})
_HTML = "text/html; charset=utf-8"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")

NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lumina-stream</title>
<h1>lumina-stream</h1>
<p>This relay runs. Its dashboard was not built: this is a checkout in which
<code>npm ci &amp;&amp; npm run build</code> has not been run in <code>lumina_stream/dashboard</code>.</p>
<p>Watch in a terminal with <code>lumina-stream tail</code>. As data:
<a href="v1/traces">v1/traces</a>, <a href="healthz">healthz</a>, <a href="metrics">metrics</a>.</p>
</html>
"""


class _File(msgspec.Struct, frozen=True):
    changed_ns: int
    body: bytes
    compressed: bytes | None


class Static:
    """The routes of the dashboard's files in a folder."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._files: dict[Path, _File] = {}

    async def page(self, request: Request) -> Response:
        """Return the dashboard's page."""
        file = self._read(self._folder / "index.html")
        body = NOT_BUILT.encode() if file is None else file.body
        return Response(body, media_type=_HTML, headers=_PAGE_HEADERS)

    async def asset(self, request: Request) -> Response:
        """Return one built file."""
        name: str = request.path_params["name"]
        path = self._folder / "assets" / name
        if not _NAME.fullmatch(name) or path.suffix not in _TYPES:
            return missing(f"nothing is at {request.url.path}")
        file = self._read(path)
        if file is None:
            return missing(f"nothing is at {request.url.path}")
        headers, body = _ASSET_HEADERS, file.body
        if file.compressed is not None and _takes_gzip(request.headers.get("accept-encoding", "")):
            headers, body = headers | {"Content-Encoding": "gzip"}, file.compressed
        return Response(body, media_type=_TYPES[path.suffix], headers=headers)

    def _read(self, path: Path) -> _File | None:
        try:
            changed_ns = path.stat().st_mtime_ns
            known = self._files.get(path)
            if known is None or known.changed_ns != changed_ns:
                body = path.read_bytes()
                small = gzip.compress(body, 9, mtime=0) if path.suffix in _COMPRESSED else None
                known = self._files[path] = _File(changed_ns, body, small)
            return known
        except OSError:
            self._files.pop(path, None)
            return None


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, *parameters = (text.strip() for text in part.split(";"))
        if coding == "gzip":
            return not any(re.fullmatch(r"q=0(\.0*)?", text) for text in parameters)
    return False

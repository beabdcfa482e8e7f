"""The dashboard's files: what is served under which headers, and that nothing else is."""

import asyncio
import gzip
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from support.relay_process import running_relay

from lumina_stream.relay.access import Access, Asked
from lumina_stream.relay.static import Static
from lumina_stream.relay.token_watch import fixed_tokens

SCRIPT = b"export const greeting = 'hello';\n" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A built dashboard, with files beside it that are nobody's business."""
    built = tmp_path / "static"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text("<!doctype html><title>dashboard</title>")
    (built / "assets" / "index-Ab_1-x.js").write_bytes(SCRIPT)
    (built / "assets" / "index-Ab_1.css").write_text("body { margin: 0 }")
    (built / "assets" / "icon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (built / "assets" / "font.woff2").write_bytes(b"wOF2")
    (built / "assets" / "notes.txt").write_text("not for serving")
    (built / "assets" / ".hidden.js").write_text("hidden")
    (built / "secret.js").write_text("secret")
    (tmp_path / "outside.js").write_text("outside")
    return built


def get(folder: Path, *paths: str, headers: dict[str, str] | None = None) -> list[httpx.Response]:
    static = Static(folder)
    app = Starlette(
        routes=[Route("/", static.page), Route("/assets/{name}", static.asset, methods=["GET"])]
    )

    async def go() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            return [await client.get(path, headers=headers) for path in paths]

    return asyncio.run(go())


def test_the_page(folder: Path) -> None:
    """The page comes fresh each time, and may run nothing but the relay's own files."""
    (page,) = get(folder, "/")
    assert page.text == "<!doctype html><title>dashboard</title>"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store"
    policy = page.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


def test_without_built_files_the_page_says_so(tmp_path: Path) -> None:
    """A checkout in which nobody ran the build still answers."""
    page, asset = get(tmp_path / "nothing", "/", "/assets/index.js")
    assert page.status_code == 200
    assert "npm run build" in page.text
    assert asset.status_code == 404


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("index-Ab_1-x.js", "text/javascript; charset=utf-8"),
        ("index-Ab_1.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("font.woff2", "font/woff2"),
    ],
)
def test_assets_are_kept_for_ever(folder: Path, name: str, kind: str) -> None:
    """A hashed name never changes its content, so browsers need not ask again."""
    (file,) = get(folder, f"/assets/{name}")
    assert file.content == (folder / "assets" / name).read_bytes()
    assert file.headers["content-type"] == kind
    assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert file.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("identity", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("xgzip", False),
    ],
)
def test_compressed_only_when_that_is_accepted(
    folder: Path, accepted: str, compressed: bool
) -> None:
    """The same file either way, and caches are told that there are two forms."""
    (file,) = get(folder, "/assets/index-Ab_1-x.js", headers={"Accept-Encoding": accepted})
    assert file.content == SCRIPT  # httpx has unpacked it
    assert (file.headers.get("content-encoding") == "gzip") is compressed
    assert file.headers["vary"] == "Accept-Encoding"
    if compressed:
        assert int(file.headers["content-length"]) == len(gzip.compress(SCRIPT, 9, mtime=0))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/nothing.js",
        "/assets/notes.txt",
        "/assets/.hidden.js",
        "/assets/..%2fsecret.js",
        "/assets/..%2f..%2foutside.js",
        "/assets/%2e%2e/secret.js",
        "/assets/index-Ab_1-x.js%00.css",
        "/assets/",
        "/assets/icon.svg/x",
        "/index.html",
    ],
)
def test_nothing_else_is_served(folder: Path, path: str) -> None:
    """No other file, folder or form of a name."""
    (answer,) = get(folder, path)
    assert answer.status_code == 404


def test_a_file_that_was_built_anew_is_read_anew(folder: Path) -> None:
    """Who works on the dashboard does not restart the relay."""
    static = Static(folder)
    app = Starlette(routes=[Route("/", static.page)])

    async def go() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            await client.get("/")
            (folder / "index.html").write_text("<!doctype html><title>newer</title>")
            assert "newer" in (await client.get("/")).text
            (folder / "index.html").unlink()
            assert "npm run build" in (await client.get("/")).text

    asyncio.run(go())


def test_the_page_needs_no_token_but_a_host(tmp_path: Path) -> None:
    """The page comes before a token can be asked for; what it shows does not."""
    guarded = Access("127.0.0.1", 4318, tokens=fixed_tokens("w", "r"))
    assert guarded.decide(Asked("page", "127.0.0.1:4318", None, None)) is None
    for host, origin in (("evil.example", None), (None, None), ("127.0.0.1:4318", "null")):
        denied = guarded.decide(Asked("page", host, origin, None))
        assert denied is not None
        assert denied.status == 403
    with running_relay(tmp_path / "data", write_token="w", read_token="r") as relay:
        assert httpx.get(f"{relay.url}/").status_code == 200
        assert httpx.get(f"{relay.url}/assets/nothing.js").status_code == 404
        assert httpx.get(f"{relay.url}/v1/traces").status_code == 401
        for path in ("/", "/assets/nothing.js"):
            evil = httpx.get(relay.url + path, headers={"Host": "evil.example"})
            assert evil.status_code == 403

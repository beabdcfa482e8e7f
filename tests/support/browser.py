"""Chromium on the dashboard: one browser for all tests, a page each, and what must never happen in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

ARTEFACTS = Path(__file__).parents[2] / "test-artefacts"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
SWITCHES = (
    "--no-sandbox",  # as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
)
PATIENCE_MS = 20_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(
    browser: Browser,
    url: str,
    *,
    width: int = 1440,
    height: int = 900,
    dark: bool = False,
    tolerate: tuple[str, ...] = (),
) -> Iterator[Page]:
    """Open a page of its own; at the end nothing may have gone wrong in it.

    That is: no error on the console (a breach of the content policy is one) but those that hold one
    of the texts in `tolerate`, no uncaught exception, no request to anywhere but `url`'s origin.
    """
    wrong: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error" and not any(text in message.text for text in tolerate):
            wrong.append(f"console: {message.text}")

    def on_request(request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(url).netloc:
            wrong.append(f"a request to {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
    page.on("request", on_request)
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    assert not wrong, "\n".join(wrong)


def keep(page: Page, name: str) -> None:
    """Keep a picture of the page for people to look at."""
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=str(ARTEFACTS / f"{name}.png"))

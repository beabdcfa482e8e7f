"""A browser for the session, a relay for each test."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.relay_process import RelayProcess, running_relay

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Headless Chromium; without one, these tests skip."""
    pytest.importorskip("playwright.sync_api", reason="pip install 'lumina-stream[browser]'")
    from support.browser import CHROMIUM, chromium

    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with chromium() as running:
        yield running


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    """A relay on a folder of its own."""
    with running_relay(tmp_path / "data") as running:
        yield running

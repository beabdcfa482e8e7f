"""What every deployment needs: a real relay, and the application that its module calls `APP`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.relay_process import RelayProcess, running_relay


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[RelayProcess]:
    with running_relay(tmp_path / "data") as running:
        yield running


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder with the application."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "application.py").write_text(request.module.APP)
    return tmp_path / "app"

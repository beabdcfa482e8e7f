"""HTTP requests of requests: one span a request, its redirects included."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from lumina_stream.instrument.calls import silent
from lumina_stream.instrument.httpx import sending
from lumina_stream.instrument.registry import Install, Patch, Patches


def _sending(original: Any, patch: Patch) -> Any:
    return sending(silent(original, patch), patch)  # a redirect is sent by the same method


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""

    def install(module: ModuleType, patches: Patches) -> None:
        patches.replace(module.Session, "send", _sending, ("request",))

    return {"requests.sessions": install}

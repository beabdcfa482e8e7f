"""The OpenTelemetry bridge as one of what `instrument()` puts in: as soon as its SDK is imported."""

from __future__ import annotations

import sys
from types import ModuleType

from lumina_stream.instrument.registry import Install, Patches

_waiting: list[Patches] = []
"""Who wanted the bridge while its own module was being imported, and with that the SDK."""


def bridge(patches: Patches) -> None:
    """Turn the bridge on, unless it is; whoever turned it on turns it off."""
    ours = sys.modules.get("lumina_stream.instrument.opentelemetry")
    if ours is not None and not hasattr(ours, "instrument_opentelemetry"):
        _waiting.append(patches)
        return
    from lumina_stream.instrument import opentelemetry

    if opentelemetry._bridge is None:  # pyright: ignore[reportPrivateUsage]
        patches.on_undo(opentelemetry.instrument_opentelemetry().remove)


def imported() -> None:
    """Turn the bridge on for who wanted it while its module was not there yet."""
    while _waiting:
        bridge(_waiting.pop())


def _sdk(module: ModuleType, patches: Patches) -> None:
    bridge(patches)


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {"opentelemetry.sdk.trace": _sdk}

"""The OpenTelemetry bridge as one of what `instrument()` puts in: as soon as its SDK is imported."""

from __future__ import annotations

from types import ModuleType

from lumina_stream.instrument.registry import Install, Patches


def bridge(patches: Patches) -> None:
    """Turn the bridge on, unless it is; whoever turned it on turns it off."""
    from lumina_stream.instrument import opentelemetry

    if opentelemetry._bridge is None:  # pyright: ignore[reportPrivateUsage]
        patches.on_undo(opentelemetry.instrument_opentelemetry().remove)


def _sdk(module: ModuleType, patches: Patches) -> None:
    bridge(patches)


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {"opentelemetry.sdk.trace": _sdk}

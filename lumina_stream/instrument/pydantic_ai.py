"""pydantic-ai by its own OpenTelemetry spans: agents, models and tools, taken by the bridge.

It needs `opentelemetry-sdk`; without it the calls of the clients below are recorded by their hooks.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType

from lumina_stream.instrument.opentelemetry_bridge import bridge
from lumina_stream.instrument.registry import Install, Patches


def _install(module: ModuleType, patches: Patches) -> None:
    agent = module.Agent
    before = agent._instrument_default
    if before:
        return
    if importlib.util.find_spec("opentelemetry.sdk") is None:
        patches.complain("Agent", "its spans need opentelemetry-sdk")
        return
    bridge(patches)
    agent.instrument_all()

    def undo() -> None:
        if agent._instrument_default is True:
            agent._instrument_default = before

    patches.on_undo(undo)


def hooks(library: str) -> dict[str, Install]:
    """Return what to put into which module."""
    return {"pydantic_ai.agent": _install}

"""Which span is current, and what goes along with it: one ContextVar, and one for ambient attributes."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lumina_stream.recording.recorder import Recorder
    from lumina_stream.recording.span import Span

current: ContextVar[Span | None] = ContextVar("lumina_current_span", default=None)
ambient: ContextVar[dict[str, Any] | None] = ContextVar("lumina_attributes", default=None)


class Active:
    """The recorder in force. `recorder` is None while tracing is off."""

    __slots__ = ("automatic", "recorder", "revive", "settings")

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self.automatic = False
        """Whether the environment asks for tracing: the first recording call then initialises."""
        self.revive: Any = None
        """What initialises, from given settings or the environment: set by the runtime."""
        self.settings: Any = None
        """What returns the settings in force, to be taken to another process: set by the runtime."""


active = Active()


def recorder_now() -> Recorder | None:
    """Return the recorder, initialising it on the first call if the environment asks for it."""
    if active.recorder is None and active.automatic:
        active.revive()
    return active.recorder

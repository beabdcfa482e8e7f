"""What may be awaited and is over already: the end of a block that never suspends."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any


class Done(Coroutine[Any, Any, None]):
    """A coroutine that has nothing left to do, and may be awaited any number of times.

    A coroutine of its own for each block that is left would cost as much as an event. `__await__` is
    a method of an empty tuple, so that awaiting this runs no frame.
    """

    __slots__ = ()

    __await__ = staticmethod(().__iter__)  # pyright: ignore[reportAssignmentType]

    def send(self, value: Any, /) -> Any:
        """Return at once."""
        raise StopIteration

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        """Raise what is thrown."""
        raise typ if val is None else val

    def close(self) -> None:
        """Do nothing."""


DONE = Done()

"""Spools in memory: rings, what they leave, and a look at the order in which one is written."""

import mmap
import time
from collections.abc import Callable
from typing import Any

from lumina_stream.model import codec
from lumina_stream.protocol import frames
from lumina_stream.protocol.leftover import Leftover
from lumina_stream.protocol.spool import Identity, Ring, layout_for

HELLO = frames.Hello("producer", "nonce", 1, "api", {"k": "v"}, "host", 42)


def new_ring(hello: frames.Hello = HELLO, queue_bytes: int = 0) -> tuple[Ring, mmap.mmap]:
    """Return a ring, of the least size (48 KiB of events) if no other is asked for, and its memory."""
    identity = Identity(hello, time.time_ns())
    layout = layout_for(queue_bytes, identity)
    memory = mmap.mmap(-1, layout.size)
    return Ring(memory, layout, identity), memory


def left(memory: mmap.mmap | bytes) -> Leftover:
    """Read a copy, as if its program had been killed now."""
    return Leftover(memoryview(bytes(memory)), 7)


def all_of(leftover: Leftover) -> list[bytes]:
    """Return all events that are left."""
    found: list[bytes] = []
    while events := leftover.take(10):
        found += events
    return found


def event(n: int, size: int = 0) -> bytes:
    """Return an event of a moment `n`."""
    return codec.encode({"type": "x", "time_ns": n, "pad": "x" * size})


def fill(ring: Ring, count: int, size: int = 0) -> list[bytes]:
    """Append events 1 to `count`; return them."""
    events = [event(n, size) for n in range(1, count + 1)]
    for one in events:
        assert ring.append(one, ring.capacity)
    return events


class _Watched:
    """A view of memory that notes which bytes each store changes."""

    def __init__(self, view: Any, memory: mmap.mmap, stores: list[tuple[int, int]]) -> None:
        self._view, self._memory, self._stores = view, memory, stores

    def __setitem__(self, where: Any, value: Any) -> None:
        size = getattr(self._view, "itemsize", 1)
        start, stop = (where.start, where.stop) if isinstance(where, slice) else (where, where + 1)
        before = self._memory[start * size : stop * size]
        self._view[where] = value
        after = self._memory[start * size : stop * size]
        changed = (n for n in range(len(after)) if before[n] != after[n])
        self._stores += [(start * size + n, after[n]) for n in changed]

    def __getitem__(self, where: Any) -> Any:
        return self._view[where]


def stores_of(ring: Ring, memory: mmap.mmap, change: Callable[[], object]) -> list[tuple[int, int]]:
    """Let a ring change; return which bytes became what, in the order of the stores."""
    stores: list[tuple[int, int]] = []
    views = {name: getattr(ring, name) for name in ("_buffer", "_marks", "_counters")}
    for name, view in views.items():
        setattr(ring, name, _Watched(view, memory, stores))
    try:
        assert change() is not False
    finally:
        for name, view in views.items():
            setattr(ring, name, view)
    return stores

"""A bounded ring of encoded frames, shared by all subscriptions of a channel. Pure."""

from collections import deque

RING_BYTES = 8 << 20
"""Encoded frames kept for the subscriptions of one channel: some 50,000 events. One that falls
further behind is skipped ahead and gets a snapshot, so that it costs nobody else anything."""


class Ring:
    """Frames numbered from 0 on; the oldest go when there are too many bytes."""

    __slots__ = ("_frames", "_max_bytes", "_sizes", "dropped", "offset", "start_offset")

    def __init__(self, offset: int, max_bytes: int = RING_BYTES) -> None:
        self._frames: deque[tuple[int, bytes | str]] = deque()
        self._max_bytes = max_bytes
        self._sizes = 0
        self.dropped = 0
        """How many frames went: the number of the oldest one that is here."""
        self.start_offset = offset
        """The frames hold everything of the channel after this offset."""

    @property
    def end(self) -> int:
        """Return the number that the next frame gets."""
        return self.dropped + len(self._frames)

    @property
    def size(self) -> int:
        """Return the bytes held."""
        return self._sizes

    def append(self, offset: int, frame: bytes | str) -> None:
        """Add a frame that belongs to what is in the log up to `offset`."""
        self._frames.append((offset, frame))
        self._sizes += len(frame)
        # The last frame stays, whatever its size: somebody is waiting for it.
        while self._sizes > self._max_bytes and len(self._frames) > 1:
            gone, data = self._frames.popleft()
            self._sizes -= len(data)
            self.start_offset = gone
            self.dropped += 1

    def lapse(self, offset: int) -> None:
        """Drop all frames, and one more that never was: whoever had them all falls behind as well."""
        self.dropped = self.end + 1
        self._frames.clear()
        self._sizes = 0
        self.start_offset = offset

    def get(self, number: int) -> bytes | str:
        """Return a frame that is still here."""
        return self._frames[number - self.dropped][1]

    def offset_of(self, number: int) -> int:
        """Return the offset up to which a frame that is still here brings the log."""
        return self._frames[number - self.dropped][0]

    def find(self, offset: int) -> int | None:
        """Return the number of the first frame that brings something after `offset`.

        None means that some of it is gone.
        """
        if offset < self.start_offset:
            return None
        number = self.dropped
        for upto, _ in self._frames:
            if upto > offset:
                break
            number += 1
        return number

"""Streamed text of one span on its way out: coalesced, cut to size, and hidden where it must be.

The first piece of a channel leaves at once; what follows leaves when there is enough of it, or a
moment later, with the next piece or when the queue's reader asks. Where patterns are to be hidden,
the end of the text is kept back until more comes or the stream ends, so that a pattern cut in two is
found: however long the pause in between, because what has left cannot be hidden any more.
"""

from __future__ import annotations

import threading

from lumina_stream.model.events import Channel
from lumina_stream.model.limits import TEXT_FLUSH_LENGTH, TEXT_FLUSH_S, TEXT_PIECE
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.values import encodable

_FLUSH_NS = int(TEXT_FLUSH_S * 1e9)


class Texts:
    """The text channels of one span. `index` counts on over all streams that the span records."""

    __slots__ = ("_channels", "_head", "_lock", "_queue", "_recorder")

    def __init__(self, recorder: Recorder, head: bytes) -> None:
        self._recorder = recorder
        self._queue = recorder.queue
        self._head = head
        self._channels: dict[Channel, _Held] = {}
        # Against the queue's reader. Re-entrant: a collected span or a signal handler may end the
        # span while it adds text.
        self._lock = threading.RLock()

    def add(self, channel: Channel, text: str) -> None:
        """Take a piece of text; it leaves now or with one of the next."""
        with self._lock:
            held = self._channels.get(channel)
            if held is None:
                held = self._channels[channel] = _Held()
            held.texts.append(text)
            held.length += len(text)
            now = self._recorder.now()
            if now >= held.due_ns or held.length >= TEXT_FLUSH_LENGTH:
                held.due_ns = now + _FLUSH_NS
                self._send(channel, held, last=False)
            elif not held.announced:
                held.announced = True
                self._queue.await_pieces(self)

    def send_due(self) -> None:
        """Send what has waited long enough."""
        try:
            with self._lock:
                now = self._recorder.now()
                waiting = False
                for channel, held in tuple(self._channels.items()):
                    if held.announced:
                        if now >= held.due_ns:
                            held.due_ns = now + _FLUSH_NS
                            self._send(channel, held, last=False)
                        else:
                            waiting = True
                if not waiting:
                    self._queue.waiting.discard(self)
        except Exception as error:
            self._recorder.fault(error)

    def flush(self) -> None:
        """Send what waits, all of it: the stream, or the span, is at its end."""
        if (
            self._recorder.closed
        ):  # in a forked child: another thread of the parent may hold the lock
            return
        with self._lock:
            for channel, held in tuple(self._channels.items()):
                self._send(channel, held, last=True)
            self._queue.waiting.discard(self)

    def _send(self, channel: Channel, held: _Held, *, last: bool) -> None:
        texts, held.texts, held.length, held.announced = held.texts, [], 0, False
        text = held.kept + "".join(texts)
        held.kept = ""
        if not text:
            return
        recorder = self._recorder
        if not recorder.texts_pass:
            redactions = recorder.redactions
            if not last:
                settled = redactions.settled(text)
                held.kept, text = text[settled:], text[:settled]
                if not text:
                    return
            text = redactions.text(f"@text.{channel}", text, {})
        for piece in pieces(encodable(text)):
            index = held.index
            held.index += 1
            recorder.text_streamed(self._head, channel, index, piece)


class _Held:
    """What one channel has not sent yet: `kept` because of the patterns, `texts` to be joined."""

    __slots__ = ("announced", "due_ns", "index", "kept", "length", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.length = 0
        self.kept = ""
        self.index = 0
        self.due_ns = 0
        self.announced = False


def pieces(text: str) -> list[str]:
    """Cut a text so that each piece fits `TEXT_PIECE` bytes, whatever its characters."""
    if len(text) * 4 <= TEXT_PIECE:
        return [text]
    step = TEXT_PIECE if text.isascii() else TEXT_PIECE // 4
    return [text[start : start + step] for start in range(0, len(text), step)]

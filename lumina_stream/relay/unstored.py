"""What goes on while the log refuses: the facts are shown all the same, without an offset. Pure.

Their producers keep them and send them again, so each is shown once: by its seq. When the log takes
events again they come as stored facts, and every viewer that saw any of them begins anew with a
snapshot: what a producer could not deliver after all must not stay on anybody's screen.
"""

from collections.abc import Iterable

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError
from lumina_stream.relay.committer import Submission
from lumina_stream.relay.hub import Hub
from lumina_stream.relay.publication import Publication
from lumina_stream.relay.read_back import admitted_of


class Unstored:
    """Show what the log refused, until it takes events again."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._shown: dict[str, int] = {}  # producer id -> last seq
        self.events = 0
        """How many were shown so, since the start."""

    def show(self, refused: Iterable[Submission]) -> None:
        """Hand on what of these was not handed on before."""
        for submission in refused:
            entry = submission.entry
            known = self._shown.get(entry.producer_id, 0)
            past = max(0, known - entry.first_seq + 1)
            if past >= entry.count:
                continue
            self._shown[entry.producer_id] = entry.last_seq
            raw = entry.events
            if past:
                try:
                    raw = codec.join_array(codec.split_array(raw)[past:])
                except DecodeError:
                    continue
            admitted = admitted_of(entry)
            new = admitted.events[past:]
            self.events += len(new)
            self._hub.show_unstored(
                Publication(
                    0,
                    entry.producer_id,
                    entry.first_seq + past,
                    raw,
                    new,
                    admitted.trace_ids,
                    (),
                    (),
                )
            )

    def over(self) -> None:
        """Say that the log takes events again."""
        if self._shown:
            self._shown.clear()
            self._hub.begin_anew()

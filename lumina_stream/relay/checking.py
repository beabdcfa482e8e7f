"""`lumina-stream check`: read a whole log and say whether it is sound. It changes nothing.

Beside a running relay it reads what was committed when it began. It knows how rows are stored and
what a producer's seqs promise; what an event means only as far as a recorded loss is concerned.
"""

# apsw's stubs name collections.abc.Buffer, which the checker does not know before Python 3.12.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import msgspec

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import EventsLost
from lumina_stream.relay.admission import admit, is_relay
from lumina_stream.relay.erasing import erased_in
from lumina_stream.relay.log import Deletion, LogError, Row, trace_bytes
from lumina_stream.relay.log_folder import named, size_of
from lumina_stream.relay.scan import (
    Damage,
    is_damage,
    past_damage,
    read_deletions,
    read_producers,
    scan,
)
from lumina_stream.relay.segment import Segment, files_of, has_wal, identify, reading

MOST_NAMED = 20
"""Holes named one by one; more are counted."""


class Hole(msgspec.Struct, frozen=True, omit_defaults=True):
    """Consecutive seqs of a producer that are not in the log.

    `recorded`: the relay recorded them as lost when they were missed.
    """

    producer_id: str
    first_seq: int
    last_seq: int
    recorded: bool = False


class SegmentReport(msgspec.Struct, omit_defaults=True):
    """One file. `damaged_events` cannot be read; `unindexed` rows lack a trace in the index.

    `deleted_events` were taken out with their trace; `undeleted` traces should have been, and were not.
    """

    file: str
    first_offset: int
    bytes: int = 0
    frames: int = 0
    events: int = 0
    damaged_rows: int = 0
    damaged_events: int = 0
    unreadable_events: int = 0
    unindexed: int = 0
    deleted_events: int = 0
    undeleted: int = 0
    problem: str = ""


class Report(msgspec.Struct):
    """What a check found. Offsets and events are of what is held; `sound`: nothing is wrong.

    `unerased`: traces that were deleted and are still in the files; a relay takes them out when it starts.
    """

    folder: str
    segments: list[SegmentReport]
    first_offset: int = 0
    last_offset: int = 0
    frames: int = 0
    events: int = 0
    producers: int = 0
    bytes: int = 0
    damaged_events: int = 0
    unreadable_events: int = 0
    missing_offsets: int = 0
    unindexed: int = 0
    recorded_losses: int = 0
    deletions: int = 0
    deleted_events: int = 0
    undeleted: int = 0
    unerased: int = 0
    quarantined: list[str] = []
    holes: list[Hole] = []
    unrecorded_holes: int = 0

    @property
    def sound(self) -> bool:
        """Tell whether every event that was acknowledged can be read and found."""
        return not (
            self.damaged_events
            or self.missing_offsets
            or self.unindexed
            or self.unrecorded_holes
            or self.undeleted
            or self.quarantined
            or any(segment.problem for segment in self.segments)
        )


def check(folder: Path, progress: Callable[[int, int], None] | None = None) -> Report:
    """Read the log in a folder; `progress` is told (segments read, segments) as it goes.

    Raises `LogError` where there is no log, or a later version wrote it.
    """
    found = named(folder, "db")
    wrecks = [path.name for path, _ in named(folder, "quarantined")]
    if not found and not wrecks:
        raise LogError(f"there is no log in {folder}: it has no segment-*.db")
    return _Check(folder, wrecks).run(found, progress)


class _Check:
    """The state of one check: what is known of producers so far, and what was found."""

    def __init__(self, folder: Path, wrecks: list[str]) -> None:
        self._names: dict[int, str] = {}
        self._last_seq: dict[str, int] = {}  # as the rows say
        self._said_seq: dict[str, int] = {}  # as the tables say
        self._lost: dict[str, int] = {}  # recorded as rolled back, not matched with a hole yet
        self._holes: list[Hole] = []
        self._deletions: dict[str, Deletion] = {}
        self._report = Report(str(folder), [], quarantined=wrecks)

    def run(
        self, found: list[tuple[Path, int]], progress: Callable[[int, int], None] | None
    ) -> Report:
        segments = [Segment(path, first, sealed=not has_wal(path)) for path, first in found]
        for segment in segments:
            with past_damage(), reading(segment) as connection:
                known, _ = read_producers(connection)
                for number, (producer_id, last_seq) in known.items():
                    self._names.setdefault(number, producer_id)
                    said = self._said_seq.get(producer_id, 0)
                    self._said_seq[producer_id] = max(said, last_seq)
                self._deletions.update(read_deletions(connection))
        for number, segment in enumerate(segments):
            following = segments[number + 1].first_offset if number + 1 < len(segments) else None
            self._segment(segment, following)
            if progress is not None:
                progress(number + 1, len(segments))
        return self._finish()

    def _segment(self, segment: Segment, following: int | None) -> None:
        said = SegmentReport(
            segment.path.name,
            segment.first_offset,
            sum(size_of(file) for file in files_of(segment.path)),
        )
        report = self._report
        report.segments.append(said)
        damage = Damage()
        try:
            with reading(segment) as connection:
                if not identify(connection):
                    said.problem = "was never finished: the next start of a relay removes it"
                    return
                stop = self._end(connection, segment)
                if following is not None:
                    stop = min(stop, following)
                for row in scan(connection, self._names, segment.first_offset, stop, damage):
                    self._row(row, said, connection)
                for deletion in self._deletions.values():
                    if deletion.erased and _is_held(connection, deletion.trace_id):
                        said.undeleted += 1
        except apsw.Error as error:
            if not is_damage(error):
                raise LogError(f"{segment.path} cannot be read now: {error}") from error
            said.problem = f"cannot be read: {error}"
            stop = following or segment.first_offset
            damage.hole(segment.first_offset, stop)
        if following is not None and stop < following:
            report.missing_offsets += following - stop
        said.damaged_rows, said.damaged_events = damage.rows, damage.events

    @staticmethod
    def _end(connection: apsw.Connection, segment: Segment) -> int:
        """Return where a segment ends, as far as anything in it tells."""
        with past_damage():
            end = connection.execute("SELECT max(offset + count) FROM frames").get
            if isinstance(end, int):
                return max(end, segment.first_offset)
        return segment.first_offset

    def _row(self, row: Row, said: SegmentReport, connection: apsw.Connection) -> None:
        said.frames += 1
        said.events += row.count
        report = self._report
        report.first_offset = report.first_offset or row.offset
        report.last_offset = row.last_offset
        last = self._last_seq.get(row.producer_id)
        if last is not None and row.first_seq > last + 1:
            self._holes.append(Hole(row.producer_id, last + 1, row.first_seq - 1))
        self._last_seq[row.producer_id] = row.last_seq
        try:
            admitted = admit(row.events, row.producer_id)
        except DecodeError:
            said.unreadable_events += row.count
            return
        if len(admitted.events) != row.count:
            said.unreadable_events += abs(row.count - len(admitted.events))
        if admitted.refused:
            erased = erased_in(row.events)
            said.deleted_events += erased
            said.unreadable_events += _unreadable(row) - erased
        if not all(_is_indexed(connection, t, row.offset) for t in admitted.trace_ids):
            said.unindexed += 1
        if is_relay(row.producer_id):
            for event in admitted.events:
                if isinstance(event, EventsLost) and event.subject_id and event.exact:
                    report.recorded_losses += event.count
                    lost = self._lost.get(event.subject_id, 0)
                    self._lost[event.subject_id] = lost + event.count

    def _finish(self) -> Report:
        report = self._report
        for segment in report.segments:
            report.frames += segment.frames
            report.events += segment.events
            report.bytes += segment.bytes
            report.damaged_events += segment.damaged_events
            report.unreadable_events += segment.unreadable_events
            report.unindexed += segment.unindexed
            report.deleted_events += segment.deleted_events
            report.undeleted += segment.undeleted
        report.deletions = len(self._deletions)
        report.unerased = sum(not d.erased for d in self._deletions.values())
        report.producers = len(self._last_seq)
        for producer_id, said in self._said_seq.items():
            # What retention removed is not missed: only what follows a row that is still held.
            last = self._last_seq.get(producer_id)
            if last is not None and said > last:
                self._holes.append(Hole(producer_id, last + 1, said))
        damaged = report.damaged_events + report.missing_offsets
        for hole in self._holes:
            count = hole.last_seq - hole.first_seq + 1
            if self._lost.get(hole.producer_id, 0) >= count:
                self._lost[hole.producer_id] -= count
                hole = msgspec.structs.replace(hole, recorded=True)  # noqa: PLW2901
            elif damaged >= count:
                damaged -= count  # what is damaged is counted there
            else:
                report.unrecorded_holes += 1
            if len(report.holes) < MOST_NAMED:
                report.holes.append(hole)
        return report


def _is_indexed(connection: apsw.Connection, trace_id: str, offset: int) -> bool:
    with past_damage():
        found = connection.execute(
            "SELECT count(*) FROM trace_frames WHERE trace_id = ? AND frame = ?",
            (trace_bytes(trace_id), offset),
        )
        return bool(found.get)
    return False  # a broken index has nothing


def _is_held(connection: apsw.Connection, trace_id: str) -> bool:
    with past_damage():
        found = connection.execute(
            "SELECT count(*) FROM trace_frames WHERE trace_id = ?", (trace_bytes(trace_id),)
        )
        return bool(found.get)
    return False


def _unreadable(row: Row) -> int:
    """Return how many events of a row are none at all; what only breaks a rule is stored as it came."""
    return sum(event is None for event in codec.decode_array(row.events))


def lines(report: Report) -> Iterator[str]:
    """Say what was found, for people: the sum first, then each thing that is wrong."""
    yield (
        f"{report.folder}: {report.events:,} events in {report.frames:,} frames of "
        f"{report.producers:,} producers, offsets {report.first_offset:,} to "
        f"{report.last_offset:,}, {len(report.segments)} segments, {report.bytes:,} bytes"
    )
    for segment in report.segments:
        if segment.problem:
            yield f"  {segment.file}: {segment.problem}"
        if segment.damaged_events:
            yield (
                f"  {segment.file}: {segment.damaged_events:,} events cannot be read "
                f"({segment.damaged_rows:,} damaged places)"
            )
        if segment.unindexed:
            yield f"  {segment.file}: {segment.unindexed:,} frames are not in the index of traces"
        if segment.undeleted:
            yield f"  {segment.file}: {segment.undeleted:,} deleted traces are in it all the same"
        if segment.unreadable_events:
            yield (
                f"  {segment.file}: {segment.unreadable_events:,} stored events are none "
                "(a producer sent them so; nothing was lost)"
            )
    if report.missing_offsets:
        yield f"  {report.missing_offsets:,} events are gone between segments: a file or its end is missing"
    for name in report.quarantined:
        yield f"  {name}: set aside by a relay, because nothing in it could be read"
    for hole in report.holes:
        known = "recorded as lost" if hole.recorded else "not recorded as lost"
        yield (
            f"  producer {hole.producer_id}: seq {hole.first_seq:,} to {hole.last_seq:,} "
            f"is not there ({known})"
        )
    if report.recorded_losses:
        yield f"  {report.recorded_losses:,} events are recorded as lost by the relay"
    if report.deletions:
        yield (
            f"  {report.deletions:,} deleted traces are remembered; {report.deleted_events:,} events "
            "went with them"
        )
    if report.unerased:
        yield (
            f"  {report.unerased:,} of these traces are still in the files: the next start of a relay "
            "takes them out"
        )
    yield "sound" if report.sound else "NOT sound: what is listed above cannot be shown"

"""`lumina-stream spool`: what killed programs left in a folder, and its delivery."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec

from lumina_stream import spool_folder
from lumina_stream.model import limits
from lumina_stream.model.errors import (
    ConfigurationError,
    ConnectionEnded,
    ConnectionFailed,
    DecodeError,
    RemoteProtocolError,
)
from lumina_stream.protocol.leftover import Leftover, time_of
from lumina_stream.protocol.redelivery import Redelivery
from lumina_stream.transport.endpoint import (
    DEFAULT_ENDPOINT,
    Endpoint,
    parse_endpoint,
    token_for,
)
from lumina_stream.transport.redelivering import Delivery, read
from lumina_stream.viewing.tailing import say
from lumina_stream.viewing.text import count, escape


class SpoolReport(msgspec.Struct):
    """One file of a spool folder. `events` and `bytes` are what no relay is known to have."""

    file: str
    producer_id: str = ""
    service: str = ""
    host: str = ""
    pid: int = 0
    alive: bool = False
    ended: bool = False
    events: int = 0
    bytes: int = 0
    first_time_ns: int = 0
    last_time_ns: int = 0
    damaged: int = 0
    file_bytes: int = 0
    problem: str = ""


def run_show(options: argparse.Namespace) -> int:
    """List the spools of a folder; return the exit code: 1 if one of them cannot be read."""
    reports = [report(path) for path in _paths(options.folder, spool_folder.SUFFIX)]
    for path in _paths(options.folder, spool_folder.ASIDE):
        reports.append(report(path))
    if options.json:
        for one in reports:
            sys.stdout.write(msgspec.json.encode(one).decode() + "\n")
    elif reports:
        rows = [_HEADINGS, *map(_row, reports)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            sys.stdout.write("  ".join(cells).rstrip() + "\n")
    else:
        say(f"nothing is left in {options.folder}")
    return 1 if any(one.problem for one in reports) else 0


def run_send(options: argparse.Namespace) -> int:
    """Deliver what is left in a folder; return the exit code: 1 if something stays behind."""
    endpoint = parse_endpoint(options.url or os.environ.get("LUMINA_ENDPOINT") or DEFAULT_ENDPOINT)
    token = token_for("write")
    sent = failed = files = 0
    for path in _paths(options.folder, spool_folder.SUFFIX):
        file = spool_folder.take(path)
        if file is None:
            say(f"{path}: its program is alive and sends it itself")
            continue
        try:
            redelivery = read(file)
        except DecodeError as error:
            say(f"{file.set_aside()}: set aside, it cannot be read: {error}")
            failed += 1
            continue
        if redelivery.done:  # nothing was recorded
            file.remove()
            continue
        delivery = Delivery(redelivery, file)
        try:
            anyio.run(_deliver, delivery, endpoint, token)
            files += 1
        except (ConnectionFailed, ConnectionEnded, RemoteProtocolError) as error:
            say(f"{path}: {error}")
            failed += 1
        finally:
            sent += redelivery.delivered
            delivery.close()
    say(f"{_number(sent, 'event')} of {_number(files, 'program')} delivered to {endpoint.url}")
    return 1 if failed else 0


def report(path: str) -> SpoolReport:
    """Return what a file holds; what is wrong with it is its `problem`."""
    found = SpoolReport(path)
    try:
        memory, found.alive = spool_folder.look(path)
        found.file_bytes = len(memory)
        leftover = Leftover(memoryview(memory), time.time_ns())
    except (OSError, DecodeError) as error:
        found.problem = str(error)
        return found
    hello = leftover.hello
    found.producer_id, found.service = hello.producer_id, hello.service
    found.host, found.pid = hello.host, hello.pid
    found.ended, found.events = leftover.ended, leftover.count
    if found.events:
        found.last_time_ns = leftover.last_time_ns()
    while events := leftover.take(limits.FRAME_EVENTS):
        found.bytes += sum(map(len, events))
        found.first_time_ns = found.first_time_ns or time_of(events[0])
    if not found.alive:  # what a living program lets go of while it is read is not damaged
        found.damaged = leftover.damaged
    return found


async def _deliver(delivery: Delivery, endpoint: Endpoint, token: str | None) -> None:
    redelivery = delivery.redelivery
    progress = _progress(redelivery)
    await delivery.run(endpoint, token, progress=progress)
    hello, damaged = redelivery.leftover.hello, redelivery.leftover.damaged
    text = f"{hello.producer_id}  {escape(hello.service)}  pid {hello.pid}  {_number(redelivery.delivered, 'event')}"
    if damaged:
        text += f", {damaged:,} of them damaged and reported as lost"
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _progress(redelivery: Redelivery) -> Callable[[], None]:
    """Return what paints how far a delivery is, where somebody looks."""
    total = redelivery.leftover.count
    if not sys.stderr.isatty() or total < limits.FRAME_EVENTS:
        return lambda: None

    def paint() -> None:
        done = redelivery.delivered
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\r{redelivery.session.producer_id}  {done:,} of {total:,}{end}")
        sys.stderr.flush()

    return paint


_HEADINGS = ("producer", "service", "pid", "state", "events", "bytes", "first", "last", "damaged")


def _row(one: SpoolReport) -> tuple[str, ...]:
    if one.problem:
        return (escape(Path(one.file).name), *[""] * 7, escape(one.problem))
    state = "alive" if one.alive else "ended" if one.ended else "killed"
    return (
        escape(one.producer_id),
        escape(one.service),
        str(one.pid),
        state,
        count(one.events),
        f"{one.bytes:,}",
        _when(one.first_time_ns),
        _when(one.last_time_ns),
        count(one.damaged),
    )


def _when(time_ns: int) -> str:
    if not time_ns:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns / 1e9))


def _number(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _paths(folder: Path, suffix: str) -> list[str]:
    try:
        return spool_folder.paths(str(folder), suffix)
    except OSError as error:
        raise ConfigurationError(f"cannot read {folder}: {error.strerror}") from None

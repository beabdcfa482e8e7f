"""`lumina-stream export`: traces of a relay in another form, to a file or stdout, one a line."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

import msgspec

from lumina_stream.model.errors import ConfigurationError, LuminaError
from lumina_stream.model.ids import is_trace_id
from lumina_stream.transport.endpoint import (
    DEFAULT_ENDPOINT,
    Endpoint,
    http_connection,
    parse_endpoint,
    token_for,
)
from lumina_stream.viewing.text import parse_seconds

TIMEOUT_S = 60.0
"""For one answer: a trace of a million spans takes a relay some tens of seconds to write."""
PAGE = 500


class ExportError(LuminaError):
    """A relay did not give what was asked for."""


class _Trace(msgspec.Struct):
    trace_id: str


class _Page(msgspec.Struct):
    traces: list[_Trace]
    next: str | None = None


def run_export(options: argparse.Namespace) -> int:
    """Write what the command line asks for; return the exit code."""
    url = options.url or os.environ.get("LUMINA_ENDPOINT") or DEFAULT_ENDPOINT
    token = token_for("read")
    query = {"service": options.service, "name": options.name}
    if options.since is not None:
        query["since_ns"] = str(time.time_ns() - int(parse_seconds(options.since) * 1e9))
    with Reader(parse_endpoint(url), token) as reader, _output(options.output) as output:
        if options.trace is not None:
            if not is_trace_id(options.trace):
                raise ConfigurationError(
                    f"{options.trace!r} is no trace id: 32 lower-case hex digits"
                )
            lines: Iterator[bytes] = iter((reader.trace(options.trace, options.format),))
        else:
            lines = reader.traces(options.format, {k: v for k, v in query.items() if v})
        for line in lines:
            output.write(line + b"\n")
        output.flush()
    return 0


class Reader:
    """Read traces from a relay over one connection."""

    def __init__(self, endpoint: Endpoint, token: str | None = None) -> None:
        self._endpoint = endpoint
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = http_connection(endpoint, TIMEOUT_S)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def trace(self, trace_id: str, form: str) -> bytes:
        """Return one trace. Raises `ExportError` if the relay has none of this id."""
        found = self._get(f"/v1/traces/{trace_id}", {"format": form})
        if found is None:
            raise ExportError(f"{self._endpoint.url} has no trace {trace_id}")
        return found

    def traces(self, form: str, query: dict[str, str]) -> Iterator[bytes]:
        """Iterate the traces that a query selects, the oldest first."""
        asked = {**query, "sort": "start", "order": "asc", "limit": str(PAGE)}
        while True:
            try:
                page = msgspec.json.decode(self._get("/v1/traces", asked) or b"", type=_Page)
            except msgspec.DecodeError as error:
                raise ExportError(f"{self._endpoint.url} is no relay: {error}") from None
            for trace in page.traces:
                found = self._get(f"/v1/traces/{trace.trace_id}", {"format": form})
                if found is not None:  # retention may have taken it meanwhile
                    yield found
            if page.next is None:
                return
            asked["cursor"] = page.next

    def _get(self, path: str, query: dict[str, str]) -> bytes | None:
        """Return the body of an answer, None for 404."""
        where = self._endpoint.url
        try:
            self._connection.request(
                "GET", f"{self._endpoint.path}{path}?{urlencode(query)}", headers=self._headers
            )
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ExportError(
                f"no relay answers at {where}: {error}; start one with `lumina-stream serve`"
            ) from None
        if response.status == 404:
            return None
        if response.status in (401, 403):
            raise ExportError(
                f"{where} refuses ({response.status}): set LUMINA_READ_TOKEN, LUMINA_TOKEN or LUMINA_TOKEN_FILE"
            )
        if response.status != 200:
            raise ExportError(f"{where} answers {response.status}: {_reason(body)}")
        return body


def _reason(body: bytes) -> str:
    return body[:500].decode("utf-8", "replace")


@contextlib.contextmanager
def _output(path: Path | None) -> Generator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        file = path.open("wb")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    with file:
        yield file

"""`lumina-stream delete`: take traces out of a relay for good."""

import argparse
import http.client
import os
import sys

import msgspec

from lumina_stream.model.errors import LuminaError
from lumina_stream.transport.endpoint import (
    DEFAULT_ENDPOINT,
    Endpoint,
    http_connection,
    parse_endpoint,
    token_for,
)
from lumina_stream.viewing.tailing import say

TIMEOUT_S = 120.0
"""For one deletion: every file that holds something of the trace is rewritten."""


class _Answer(msgspec.Struct):
    erased: bool = True
    error: str = ""


def run_delete(options: argparse.Namespace) -> int:
    """Delete the traces that the command line names; return the exit code: 1 if one is not known."""
    endpoint = parse_endpoint(options.url or os.environ.get("LUMINA_ENDPOINT") or DEFAULT_ENDPOINT)
    token = token_for("write")
    failed = False
    for trace_id in options.trace_ids:
        status, answer = _ask(endpoint, trace_id, token)
        match status:
            case 200:
                sys.stdout.write(f"{trace_id}\n")
                if not answer.erased:
                    say(
                        f"{trace_id}: shown to nobody; the files are rewritten as soon as that is possible"
                    )
            case 404:
                say(f"{endpoint.url} has no trace {trace_id}")
                failed = True
            case 401 | 403:
                raise LuminaError(
                    f"{endpoint.url} refuses ({status}: {answer.error}): deleting needs a write token, in "
                    "LUMINA_WRITE_TOKEN, LUMINA_TOKEN or LUMINA_TOKEN_FILE"
                )
            case _:
                raise LuminaError(f"{endpoint.url} answers {status}: {answer.error}")
    return 1 if failed else 0


def _ask(endpoint: Endpoint, trace_id: str, token: str | None) -> tuple[int, _Answer]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http_connection(endpoint, TIMEOUT_S)
    try:
        connection.request("DELETE", f"{endpoint.path}/v1/traces/{trace_id}", headers=headers)
        response = connection.getresponse()
        body = response.read(1 << 16)
    except (OSError, http.client.HTTPException) as error:
        raise LuminaError(
            f"no relay answers at {endpoint.url}: {error}; start one with `lumina-stream serve`"
        ) from None
    finally:
        connection.close()
    try:
        return response.status, msgspec.json.decode(body, type=_Answer)
    except msgspec.DecodeError:
        return response.status, _Answer(error=body[:300].decode("utf-8", "replace"))

"""The command `lumina-stream`: serve, tail, run, demo."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lumina_stream.model.errors import ConfigurationError, LuminaError
from lumina_stream.transport.endpoint import DEFAULT_ENDPOINT, DEFAULT_PORT
from lumina_stream.version import __version__

NEEDS_EXTRA = 2
"""Exit code when something is not installed, and of argparse for wrong arguments."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""
EXTRA_HINT = "pip install 'lumina-stream[all]'"

_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

_MAIN_EPILOG = f"""\
a first look:
  lumina-stream demo                          a simulated pipeline, live in this terminal
  lumina-stream run -- python my_program.py   one program, its tree at the end

every day:
  lumina-stream serve                         the relay, at {DEFAULT_ENDPOINT}
  lumina-stream tail                          what runs now, in another terminal
"""

_SERVE_EPILOG = """\
examples:
  lumina-stream serve                                    for this machine alone
  lumina-stream serve --port 0 --data /tmp/traces        any free port, another data folder
  lumina-stream serve --keep 30d --max-bytes 50GiB       keep more
  LUMINA_TOKEN=... lumina-stream serve --host 0.0.0.0    for a team; a token is then required

The URL is the one line on stdout once it is ready; everything else goes to stderr.
LUMINA_WRITE_TOKEN and LUMINA_READ_TOKEN (or LUMINA_TOKEN for both) guard sending and reading.
"""

_TAIL_EPILOG = """\
examples:
  lumina-stream tail                                     the live tree
  lumina-stream tail --service my-rag-app --state running
  lumina-stream tail --name 'rag_*' --since 10m          with what came in the last ten minutes
  lumina-stream tail --json | jq 'select(.type == "span_ended" and .status == "error")'
  lumina-stream tail --until-idle > trace.log            lines, until nothing has run for a second

On a terminal it is a live tree; in a pipe or file it is lines, with --json one fact a line.
"""

_RUN_EPILOG = """\
examples:
  lumina-stream run -- python my_program.py
  lumina-stream run -- pytest -x
  echo question | lumina-stream run -- python ask.py > answer.txt

The program's input and output are untouched: the link and the finished tree go to stderr. The exit
code is the program's, 128 + n if signal n ended it. A relay that answers at the endpoint is used,
otherwise one runs as long as the program does.
"""

_DEMO_EPILOG = """\
Nothing is installed, called or kept: the pipeline sleeps where a real one would wait, its relay runs
on a free port with a temporary folder, and both end by themselves.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, command = _split(given)
    options = parser.parse_args(own)
    try:
        match options.command:
            case "serve":
                return _serve(options)
            case "tail":
                from lumina_stream.viewing.tailing import run_tail

                return run_tail(options)
            case "run":
                from lumina_stream.viewing.running import run_command

                if not command:
                    parser.error("run needs a command: lumina-stream run -- python my_program.py")
                return run_command(command, url=options.url)
            case "demo":
                from lumina_stream.viewing.demonstration import run_demo

                return run_demo()
            case _:
                parser.print_help()
                return 0
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "lumina_stream"):
            raise
        return _complain(f"{missing} is not installed; {EXTRA_HINT}", NEEDS_EXTRA)
    except LuminaError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _split(given: list[str]) -> tuple[list[str], list[str]]:
    """Part our own arguments from the program's: after `--`, or after `run` and its options."""
    if not given or given[0] != "run":
        return given, []
    at = 1
    while at < len(given) and given[at].startswith("-") and given[at] != "--":
        at += 2 if given[at] == "--url" else 1
    rest = given[at + 1 :] if at < len(given) and given[at] == "--" else given[at:]
    return given[:at], rest


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="lumina-stream",
        description="See what a running pipeline does, while it does it.",
        epilog=_MAIN_EPILOG,
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"lumina-stream {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    serve = commands.add_parser(
        "serve", help="run a relay", description="Run a relay: it takes, keeps and shows traces.",
        epilog=_SERVE_EPILOG, formatter_class=raw,
    )  # fmt: skip
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="port, 0 for any free one (%(default)s)"
    )
    serve.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )
    serve.add_argument(
        "--keep", default="7d", metavar="TIME", help="keep traces this long, or `forever` (7d)"
    )
    serve.add_argument(
        "--max-bytes", default="5GiB", metavar="SIZE", help="drop the oldest above this (5GiB)"
    )
    serve.add_argument("--allow-host", action="append", default=[], metavar="HOST",
                       help="accept this Host header too, behind a proxy")  # fmt: skip
    serve.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN",
                       help="accept browsers that come from this origin")  # fmt: skip
    serve.add_argument("--root-path", default="", metavar="PATH", help="prefix behind a proxy")
    serve.add_argument(
        "--trust-proxy", action="store_true", help="believe X-Forwarded-* from a proxy"
    )
    serve.add_argument(
        "--log", choices=("auto", "console", "json"), default="auto", help="form of the log (auto)"
    )

    tail = commands.add_parser(
        "tail", help="watch what runs", description="Watch traces while they run.",
        epilog=_TAIL_EPILOG, formatter_class=raw,
    )  # fmt: skip
    tail.add_argument(
        "--url", metavar="U", help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})"
    )
    tail.add_argument("--json", action="store_true", help="print one fact a line, as JSON")
    tail.add_argument("--lines", action="store_true", help="print lines even on a terminal")
    tail.add_argument("--service", metavar="S", help="only traces of this service")
    tail.add_argument("--trace", metavar="ID", help="only this trace, from its beginning")
    tail.add_argument("--name", metavar="GLOB", help="only traces whose root has such a name")
    tail.add_argument(
        "--state", metavar="S", help="only traces in this state: running, ok, error, interrupted"
    )
    tail.add_argument(
        "--since", metavar="TIME", help="begin with what arrived since then: 30s, 10m, 2h"
    )
    tail.add_argument(
        "--until-idle", action="store_true",
        help="end once a trace was seen and nothing has run for a second",
    )  # fmt: skip

    run = commands.add_parser(
        "run", help="run a program and show its trace", usage="lumina-stream run [--url U] -- CMD ...",
        description="Run a program with tracing on, and show its tree at the end.",
        epilog=_RUN_EPILOG, formatter_class=raw,
    )  # fmt: skip
    run.add_argument(
        "--url", metavar="U", help=f"use this relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})"
    )

    commands.add_parser(
        "demo", help="watch a simulated pipeline",
        description="Watch a simulated RAG pipeline run, live in this terminal.",
        epilog=_DEMO_EPILOG, formatter_class=raw,
    )  # fmt: skip
    return parser


def _serve(options: argparse.Namespace) -> int:
    from lumina_stream.relay.serve import RelayConfig, serve
    from lumina_stream.viewing.text import parse_seconds

    keep = str(options.keep)
    config = RelayConfig(
        host=options.host,
        port=options.port,
        data=options.data,
        keep_s=None if keep == "forever" else parse_seconds(keep),
        max_bytes=parse_bytes(options.max_bytes),
        allow_hosts=tuple(options.allow_host),
        allow_origins=tuple(options.allow_origin),
        root_path=options.root_path.rstrip("/"),
        trust_proxy=options.trust_proxy,
        log_format=options.log,
    )
    return serve(config)


def parse_bytes(text: str) -> int | None:
    """Return a size in bytes from text such as `5GiB`, `500M`, `1000`; None for `unlimited`."""
    compact = text.strip().lower().replace(" ", "")
    if compact == "unlimited":
        return None
    number = compact.rstrip("bitkmg")
    unit = compact[len(number) :].removesuffix("b").removesuffix("i")
    try:
        size = int(float(number) * _BYTES[unit])
    except (ValueError, KeyError, OverflowError):
        raise ConfigurationError(f"{text!r} is no size; write for example 500MiB or 5GiB") from None
    if size <= 0:
        raise ConfigurationError(f"{text!r} is no size; write for example 500MiB or 5GiB")
    return size


def _complain(message: str, code: int) -> int:
    print(f"lumina-stream: {message}", file=sys.stderr)
    return code

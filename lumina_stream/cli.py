"""The command `lumina-stream`: serve, tail, run, export, delete, token, spool, check, backup, demo."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from lumina_stream.model.errors import ConfigurationError, LuminaError
from lumina_stream.model.node import STATES
from lumina_stream.tokens import KINDS
from lumina_stream.transport.endpoint import DEFAULT_ENDPOINT, DEFAULT_PORT, parse_endpoint
from lumina_stream.version import __version__
from lumina_stream.viewing.asking import name_of, since_of, state_of, trace_id_of
from lumina_stream.viewing.text import parse_seconds

T = TypeVar("T")

NEEDS_EXTRA = 2
"""Exit code when something is not installed, and of argparse for wrong arguments."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""
LEAST_KEEP_S = 60.0
"""What is kept for less is gone before anybody looks."""
LEAST_BYTES = 1 << 20
"""Below it one busy second would push out what was just stored."""
LEAST_RATE = 64 << 10
"""What may be on its way (4 MiB) then takes the minute for which a producer can be told to pause."""
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
  lumina-stream serve --open                             and its dashboard in the browser
  lumina-stream serve --port 0 --data /tmp/traces        any free port, another data folder
  lumina-stream serve --keep 30d --max-bytes 50GiB       keep more
  lumina-stream serve --forward http://collector:4318    and pass finished spans on
  lumina-stream serve --spool /var/lib/app/spool         and take what killed programs left there
  LUMINA_TOKEN=... lumina-stream serve --host 0.0.0.0    for a team; tokens are then required
  lumina-stream serve --host 0.0.0.0 --token-file FILE   several of them (lumina-stream token --help)

In a pipe or file the URL is the one line on stdout once it is ready; everything else goes to stderr.
OpenTelemetry programs send to its /v1/traces (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf).
LUMINA_FORWARD_HEADERS (key=value,key2=value2) go with each request of --forward.
LUMINA_WRITE_TOKEN and LUMINA_READ_TOKEN (or LUMINA_TOKEN for both) guard sending and reading;
LUMINA_TOKEN_FILE is the variable of --token-file. With --tls-cert and --tls-key, clients say https://HOST:PORT;
LUMINA_CA_FILE names a CA of your own to them.
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
  lumina-stream run --instrument -- python agent.py      trace openai, langgraph, httpx, ... in it
  lumina-stream run -- pytest -x
  echo question | lumina-stream run -- python ask.py > answer.txt

The program's input and output are untouched: the link and the finished tree go to stderr. The exit
code is the program's, 128 + n if signal n ended it. A relay that answers at the endpoint is used,
otherwise one runs as long as the program does.
"""

_EXPORT_EPILOG = """\
examples:
  lumina-stream export --trace 4bf92f3577b34da6a3ce929d0e0e4736
  lumina-stream export --since 1h --service my-rag-app --output traces.jsonl

otlp-json is OpenTelemetry's file format: one TracesData object a line, here one trace a line. A span
that still runs has no end time.
"""

_DELETE_EPILOG = """\
examples:
  lumina-stream delete 4bf92f3577b34da6a3ce929d0e0e4736
  lumina-stream delete 4bf92f3577b34da6a3ce929d0e0e4736 --url https://relay.example:4318

The ids of what was deleted are printed, one a line. It is gone from lists, views, costs and the files of the
log, and cannot be brought back; what its program still sends of it is not kept. Where tokens are set it takes
a write token, from LUMINA_WRITE_TOKEN, LUMINA_TOKEN or LUMINA_TOKEN_FILE. Backups are yours to delete.
"""

_TOKEN_EPILOG = """\
examples:
  lumina-stream token write --file tokens --label "checkout service"
  lumina-stream token read --file tokens --label "the team's dashboards"
  lumina-stream serve --host 0.0.0.0 --token-file tokens
  LUMINA_WRITE_TOKEN=$(lumina-stream token write --file tokens --label ci) python my_program.py

A write token sends, and deletes; a read token sees. A token file has a line a token (kind, token, label) and
mode 0600; a relay looks at it once a second. To rotate, add a token, let its users change over, and take the
old line away: who comes with it is refused from then on, and browser sessions begun with it end. Programs
and commands take their token from LUMINA_WRITE_TOKEN or LUMINA_READ_TOKEN, LUMINA_TOKEN, or the first line of
its kind in the file that LUMINA_TOKEN_FILE names.
"""

_CHECK_EPILOG = """\
Every frame is read and its checksum compared, each producer's seqs are followed, and each trace must
be in the index. Nothing is changed, and a relay may run meanwhile. The exit code is 0 if all that was
acknowledged can be shown, 1 if not.
"""

_BACKUP_EPILOG = """\
examples:
  lumina-stream backup /mnt/backup/traces-monday
  lumina-stream backup /tmp/copy --data /var/lib/lumina && lumina-stream serve --data /tmp/copy

The copy holds everything that was acknowledged when the command began. A relay may run meanwhile.
"""

_SPOOL_EPILOG = """\
A program that was given a folder, by init(spool_dir=DIR) or LUMINA_SPOOL_DIR, keeps there what a relay has
not stored yet. If it is killed, its next start delivers that, or `serve --spool DIR`, or `spool send DIR`.

examples:
  lumina-stream spool show /var/lib/app/spool
  lumina-stream spool show /var/lib/app/spool --json | jq .events
  lumina-stream spool send /var/lib/app/spool --url http://relay:4318

The relay's token is taken from LUMINA_WRITE_TOKEN, LUMINA_TOKEN or LUMINA_TOKEN_FILE.
"""

_DEMO_EPILOG = """\
Nothing is installed, called or kept: the pipeline sleeps where a real one would wait, its relay runs
on a free port with a temporary folder. On a desktop the dashboard opens beside the live tree, and the
relay stays until Ctrl-C, so that you can look around; elsewhere both end by themselves.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, command = _split(given)
    options, unknown = parser.parse_known_args(own)
    if unknown:
        getattr(options, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
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
                    options.parser.error(
                        "run needs a command: lumina-stream run -- python my_program.py"
                    )
                return run_command(command, url=options.url, instrument=options.instrument)
            case "export":
                from lumina_stream.viewing.exporting import run_export

                return run_export(options)
            case "delete":
                from lumina_stream.viewing.deleting import run_delete

                return run_delete(options)
            case "token":
                from lumina_stream.viewing.token_making import run_token

                return run_token(options)
            case "check":
                return _check(options)
            case "backup":
                return _backup(options)
            case "spool":
                from lumina_stream.viewing import spooling

                if options.action is None:
                    options.parser.error("spool what? `show DIR` or `send DIR`")
                act = spooling.run_show if options.action == "show" else spooling.run_send
                return act(options)
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
    serve.set_defaults(parser=serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument(
        "--port",
        type=_checked(parse_port),
        default=DEFAULT_PORT,
        help="port, 0 for any free one (%(default)s)",
    )
    serve.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )
    serve.add_argument(
        "--keep",
        type=_checked(parse_keep),
        default="7d",
        metavar="TIME",
        help="keep traces this long, or `forever` (7d)",
    )
    serve.add_argument(
        "--max-bytes",
        type=_checked(parse_max_bytes),
        default="5GiB",
        metavar="SIZE",
        help="drop the oldest above this, or `unlimited` (5GiB)",
    )
    serve.add_argument(
        "--prices", action="append", default=[], type=Path, metavar="FILE",
        help="prices of local or negotiated models, before the published ones (TOML or JSON)",
    )  # fmt: skip
    serve.add_argument(
        "--forward", metavar="URL",
        help="send finished spans on to this OTLP backend, at least once (LUMINA_FORWARD)",
    )  # fmt: skip
    serve.add_argument(
        "--spool", type=Path, metavar="DIR",
        help="take what killed programs of this machine left in their spool folder",
    )  # fmt: skip
    serve.add_argument(
        "--token-file", type=Path, metavar="FILE",
        help="tokens for sending and reading, one a line, mode 0600 (LUMINA_TOKEN_FILE)",
    )  # fmt: skip
    serve.add_argument(
        "--max-connections", type=_checked(parse_connections), default="10000", metavar="N",
        help="WebSockets that one token may have at once (without tokens: all), or `unlimited` (10000)",
    )  # fmt: skip
    serve.add_argument(
        "--max-rate", type=_checked(parse_rate), default="256M", metavar="SIZE",
        help="bytes a second from one token (without tokens: one connection), or `unlimited` (256M)",
    )  # fmt: skip
    serve.add_argument("--tls-cert", type=Path, metavar="FILE",
                       help="serve HTTPS with this certificate and its chain (PEM)")  # fmt: skip
    serve.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's key (PEM)")
    serve.add_argument("--allow-host", action="append", default=[], metavar="HOST",
                       type=_checked(parse_host),
                       help="accept this Host header too, behind a proxy")  # fmt: skip
    serve.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN",
                       type=_checked(_origin),
                       help="accept browsers that come from this origin")  # fmt: skip
    serve.add_argument("--root-path", default="", metavar="PATH", help="prefix behind a proxy",
                       type=_checked(parse_root_path))  # fmt: skip
    serve.add_argument(
        "--trust-proxy", action="store_true", help="believe X-Forwarded-* from a proxy"
    )
    serve.add_argument("--open", action="store_true", help="open the dashboard in the browser")
    serve.add_argument(
        "--log", choices=("auto", "console", "json"), default="auto", help="form of the log (auto)"
    )

    tail = commands.add_parser(
        "tail", help="watch what runs", description="Watch traces while they run.",
        epilog=_TAIL_EPILOG, formatter_class=raw,
    )  # fmt: skip
    tail.set_defaults(parser=tail)
    tail.add_argument(
        "--url",
        metavar="U",
        type=_checked(_url),
        help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )
    tail.add_argument("--json", action="store_true", help="print one fact a line, as JSON")
    tail.add_argument("--lines", action="store_true", help="print lines even on a terminal")
    tail.add_argument("--service", metavar="S", help="only traces of this service",
                      type=_checked(name_of))  # fmt: skip
    tail.add_argument("--trace", metavar="ID", help="only this trace, from its beginning",
                      type=_checked(trace_id_of))  # fmt: skip
    tail.add_argument("--name", metavar="GLOB", help="only traces whose root has such a name",
                      type=_checked(name_of))  # fmt: skip
    tail.add_argument("--state", metavar="S", help=f"only traces in this state: {', '.join(STATES)}",
                      type=_checked(state_of))  # fmt: skip
    tail.add_argument("--since", metavar="TIME", type=_checked(since_of),
                      help="begin with what arrived since then: 30s, 10m, 2h")  # fmt: skip
    tail.add_argument(
        "--until-idle", action="store_true",
        help="end once a trace was seen and nothing has run for a second",
    )  # fmt: skip

    run = commands.add_parser(
        "run", help="run a program and show its trace", usage="lumina-stream run [--url U] [--instrument] -- CMD ...",
        description="Run a program with tracing on, and show its tree at the end.",
        epilog=_RUN_EPILOG, formatter_class=raw,
    )  # fmt: skip
    run.set_defaults(parser=run)
    run.add_argument(
        "--url",
        metavar="U",
        type=_checked(_url),
        help=f"use this relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )
    run.add_argument(
        "--instrument", action="store_true",
        help="trace the calls of the libraries that it uses, without a change to it",
    )  # fmt: skip

    export = commands.add_parser(
        "export", help="write traces to a file", description="Write traces in another form.",
        epilog=_EXPORT_EPILOG, formatter_class=raw,
    )  # fmt: skip
    export.add_argument(
        "--format", choices=("otlp-json",), default="otlp-json", help="form (%(default)s)"
    )
    export.add_argument(
        "--url", metavar="U", help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})"
    )
    export.add_argument("--trace", metavar="ID", help="only this trace")
    export.add_argument("--service", metavar="S", help="only traces of this service")
    export.add_argument("--name", metavar="GLOB", help="only traces whose root has such a name")
    export.add_argument(
        "--since", metavar="TIME", help="only what started since then: 30s, 10m, 2h"
    )
    export.add_argument(
        "--output", type=Path, metavar="FILE", help="write here instead of to stdout"
    )

    delete = commands.add_parser(
        "delete", help="take a trace out of a relay, for good",
        description="Delete traces: from the views, the projections and the files of the log.",
        epilog=_DELETE_EPILOG, formatter_class=raw,
    )  # fmt: skip
    delete.set_defaults(parser=delete)
    delete.add_argument(
        "trace_ids", nargs="+", metavar="TRACE_ID", type=_checked(trace_id_of), help="which ones"
    )
    delete.add_argument(
        "--url", metavar="U", type=_checked(_url),
        help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )  # fmt: skip

    token = commands.add_parser(
        "token", help="make a token for sending or reading",
        description="Make a token, show it once, and add it to a token file.",
        epilog=_TOKEN_EPILOG, formatter_class=raw,
    )  # fmt: skip
    token.add_argument(
        "kind",
        choices=KINDS,
        metavar="KIND",
        help="what it is for: write (send), read (see) or both",
    )
    token.add_argument("--file", type=Path, metavar="FILE", help="add it to this token file")
    token.add_argument("--label", metavar="TEXT", help="whose it is, to find its line again")

    check = commands.add_parser(
        "check", help="verify a data folder",
        description="Read the whole log of a data folder and say whether it is sound.",
        epilog=_CHECK_EPILOG, formatter_class=raw,
    )  # fmt: skip
    check.add_argument(
        "data", type=Path, nargs="?", metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )  # fmt: skip
    check.add_argument("--json", action="store_true", help="print what was found as JSON")

    backup = commands.add_parser(
        "backup", help="copy a data folder, also while a relay writes it",
        description="Copy the log of a data folder as of now, and verify the copy.",
        epilog=_BACKUP_EPILOG, formatter_class=raw,
    )  # fmt: skip
    backup.add_argument("target", type=Path, metavar="TARGET", help="a folder that does not exist")
    backup.add_argument(
        "--data", type=Path, metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )  # fmt: skip

    spool = commands.add_parser(
        "spool", help="look at or deliver what killed programs left",
        description="Look at the spools of a folder, or deliver what is left in them.",
        epilog=_SPOOL_EPILOG, formatter_class=raw,
    )  # fmt: skip
    spool.set_defaults(parser=spool)
    actions = spool.add_subparsers(dest="action", metavar="ACTION")
    show = actions.add_parser(
        "show", help="list the spools of a folder", epilog=_SPOOL_EPILOG, formatter_class=raw
    )
    show.add_argument("folder", metavar="DIR", type=Path)
    show.add_argument("--json", action="store_true", help="print one spool a line, as JSON")
    send = actions.add_parser(
        "send", help="deliver what dead programs left", epilog=_SPOOL_EPILOG, formatter_class=raw
    )
    send.add_argument("folder", metavar="DIR", type=Path)
    send.add_argument(
        "--url", metavar="U", type=_checked(_url),
        help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )  # fmt: skip

    commands.add_parser(
        "demo", help="watch a simulated pipeline",
        description="Watch a simulated RAG pipeline run, live in this terminal.",
        epilog=_DEMO_EPILOG, formatter_class=raw,
    )  # fmt: skip
    return parser


def _serve(options: argparse.Namespace) -> int:
    from lumina_stream.relay.serve import RelayConfig, serve

    config = RelayConfig(
        host=options.host,
        port=options.port,
        data=options.data,
        keep_s=options.keep,
        max_bytes=options.max_bytes,
        prices=tuple(options.prices),
        forward=options.forward,
        token_file=options.token_file,
        max_connections=options.max_connections,
        max_rate=options.max_rate,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        spool=options.spool,
        allow_hosts=tuple(options.allow_host),
        allow_origins=tuple(options.allow_origin),
        root_path=options.root_path,
        trust_proxy=options.trust_proxy,
        log_format=options.log,
    )
    if not options.open:
        return serve(config)
    from lumina_stream.viewing.browser import open_page

    return serve(config, on_ready=open_page)


def _check(options: argparse.Namespace) -> int:
    import msgspec

    from lumina_stream.relay.checking import check, lines
    from lumina_stream.relay.serve import default_data_folder

    report = check(options.data or default_data_folder(), _progress("segments read"))
    if options.json:
        found = {**msgspec.structs.asdict(report), "sound": report.sound}
        print(msgspec.json.encode(found).decode())
    else:
        print("\n".join(lines(report)))
    return 0 if report.sound else 1


def _backup(options: argparse.Namespace) -> int:
    from lumina_stream.relay.backup import back_up
    from lumina_stream.relay.checking import lines
    from lumina_stream.relay.serve import default_data_folder

    data = options.data or default_data_folder()
    report = back_up(data, options.target, _progress("segments copied"))
    print("\n".join(lines(report)))
    print(f"to use it: lumina-stream serve --data {shlex.quote(str(options.target))}")
    return 0 if report.sound else 1


def _progress(what: str) -> Callable[[int, int], None] | None:
    """Say how far something is, in place, where a person looks on."""
    if not sys.stderr.isatty():
        return None

    def say(done: int, of: int) -> None:
        end = "\n" if done == of else ""
        print(f"\r{done:,} of {of:,} {what}", end=end, file=sys.stderr, flush=True)

    return say


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


def parse_keep(text: str) -> float | None:
    """Return how long to keep traces, in seconds, from text such as `7d`; None for `forever`."""
    if text.strip().lower() == "forever":
        return None
    seconds = parse_seconds(text)
    if seconds < LEAST_KEEP_S:
        raise ConfigurationError(
            f"{text!r} is less than a minute; write for example 12h, 7d or forever"
        )
    return seconds


def parse_max_bytes(text: str) -> int | None:
    """Return how much to keep, in bytes; None for `unlimited`."""
    size = parse_bytes(text)
    if size is not None and size < LEAST_BYTES:
        raise ConfigurationError(f"{text!r} is less than 1 MiB; write for example 500MiB or 5GiB")
    return size


def parse_rate(text: str) -> int | None:
    """Return how many bytes a second a client may send; None for `unlimited`."""
    rate = parse_bytes(text.strip().lower().removesuffix("/s"))
    if rate is not None and rate < LEAST_RATE:
        raise ConfigurationError(f"{text!r} is less than 64 KiB a second; write for example 20M")
    return rate


def parse_connections(text: str) -> int | None:
    """Return how many connections a client may have; None for `unlimited`."""
    if text.strip().lower() == "unlimited":
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ConfigurationError(f"{text!r} is no number of connections; write for example 1000")
    return int(text)


def parse_port(text: str) -> int:
    """Return a port to listen on, 0 for any."""
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise ConfigurationError(f"{text!r} is no port; write 1 to 65535, or 0 for any free one")
    return int(text)


def parse_root_path(text: str) -> str:
    """Return a path prefix without a final slash."""
    if text and not text.startswith("/"):
        raise ConfigurationError(f"{text!r} does not begin with a slash; write it as /{text}")
    return text.rstrip("/")


def parse_host(text: str) -> str:
    """Return a Host header to accept: a name or address, with a port or without."""
    if not text or any(c in "/?#@" or c.isspace() for c in text):
        raise ConfigurationError(f"{text!r} is no host; write it as name or name:port")
    return text


def _origin(text: str) -> str:
    from lumina_stream.relay.access import parse_origin

    return parse_origin(text)


def _url(text: str) -> str:
    parse_endpoint(text)
    return text


def _checked(check: Callable[[str], T]) -> Callable[[str], T]:
    """Let argparse say what is wrong with a value: with the sub-command's usage, exit code 2."""

    def convert(text: str) -> T:
        try:
            return check(text)
        except ConfigurationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _complain(message: str, code: int) -> int:
    print(f"lumina-stream: {message}", file=sys.stderr)
    return code

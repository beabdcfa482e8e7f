"""The command `lumina-stream`: serve, tail, run, export, delete, token, spool, check, backup, demo."""

import argparse
import gc
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from lumina_stream.cli_help import (
    BACKUP_EPILOG,
    CHECK_EPILOG,
    DELETE_EPILOG,
    DEMO_EPILOG,
    EXPORT_EPILOG,
    MAIN_EPILOG,
    RUN_EPILOG,
    SERVE_EPILOG,
    SPOOL_EPILOG,
    TAIL_EPILOG,
    TOKEN_EPILOG,
)
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
        epilog=MAIN_EPILOG,
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"lumina-stream {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    serve = commands.add_parser(
        "serve", help="run a relay", description="Run a relay: it takes, keeps and shows traces.",
        epilog=SERVE_EPILOG, formatter_class=raw,
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
        epilog=TAIL_EPILOG, formatter_class=raw,
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
        epilog=RUN_EPILOG, formatter_class=raw,
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
        epilog=EXPORT_EPILOG, formatter_class=raw,
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
        epilog=DELETE_EPILOG, formatter_class=raw,
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
        epilog=TOKEN_EPILOG, formatter_class=raw,
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
        epilog=CHECK_EPILOG, formatter_class=raw,
    )  # fmt: skip
    check.add_argument(
        "data", type=Path, nargs="?", metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )  # fmt: skip
    check.add_argument("--json", action="store_true", help="print what was found as JSON")

    backup = commands.add_parser(
        "backup", help="copy a data folder, also while a relay writes it",
        description="Copy the log of a data folder as of now, and verify the copy.",
        epilog=BACKUP_EPILOG, formatter_class=raw,
    )  # fmt: skip
    backup.add_argument("target", type=Path, metavar="TARGET", help="a folder that does not exist")
    backup.add_argument(
        "--data", type=Path, metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )  # fmt: skip

    spool = commands.add_parser(
        "spool", help="look at or deliver what killed programs left",
        description="Look at the spools of a folder, or deliver what is left in them.",
        epilog=SPOOL_EPILOG, formatter_class=raw,
    )  # fmt: skip
    spool.set_defaults(parser=spool)
    actions = spool.add_subparsers(dest="action", metavar="ACTION")
    show = actions.add_parser(
        "show", help="list the spools of a folder", epilog=SPOOL_EPILOG, formatter_class=raw
    )
    show.add_argument("folder", metavar="DIR", type=Path)
    show.add_argument("--json", action="store_true", help="print one spool a line, as JSON")
    send = actions.add_parser(
        "send", help="deliver what dead programs left", epilog=SPOOL_EPILOG, formatter_class=raw
    )
    send.add_argument("folder", metavar="DIR", type=Path)
    send.add_argument(
        "--url", metavar="U", type=_checked(_url),
        help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )  # fmt: skip

    commands.add_parser(
        "demo", help="watch a simulated pipeline",
        description="Watch a simulated RAG pipeline run, live in this terminal.",
        epilog=DEMO_EPILOG, formatter_class=raw,
    )  # fmt: skip
    return parser


def _serve(options: argparse.Namespace) -> int:
    gc.disable()  # none of what is imported is garbage; `serve` turns it on again
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

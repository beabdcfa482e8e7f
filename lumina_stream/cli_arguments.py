"""The arguments of the command `lumina-stream`: a function for each sub-command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

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
from lumina_stream.cli_values import (
    checked,
    parse_allowed_origin,
    parse_connections,
    parse_host,
    parse_keep,
    parse_max_bytes,
    parse_port,
    parse_rate,
    parse_root_path,
    parse_url,
)
from lumina_stream.model.node import STATES
from lumina_stream.tokens import KINDS
from lumina_stream.transport.endpoint import DEFAULT_ENDPOINT, DEFAULT_PORT
from lumina_stream.version import __version__
from lumina_stream.viewing.asking import name_of, since_of, state_of, trace_id_of

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]

_RAW = argparse.RawDescriptionHelpFormatter


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; what it parses has the sub-command's own as `parser`."""
    parser = argparse.ArgumentParser(
        prog="lumina-stream",
        description="See what a running pipeline does, while it does it.",
        epilog=MAIN_EPILOG,
        formatter_class=_RAW,
    )
    parser.add_argument("--version", action="version", version=f"lumina-stream {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for make in COMMANDS.values():
        of_command = make(commands)
        of_command.set_defaults(parser=of_command)
    return parser


def _serve(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "serve", help="run a relay", description="Run a relay: it takes, keeps and shows traces.",
        epilog=SERVE_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port",
        type=checked(parse_port),
        default=DEFAULT_PORT,
        help="port, 0 for any free one (%(default)s)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )
    parser.add_argument(
        "--keep",
        type=checked(parse_keep),
        default="7d",
        metavar="TIME",
        help="keep traces this long, or `forever` (7d)",
    )
    parser.add_argument(
        "--max-bytes",
        type=checked(parse_max_bytes),
        default="5GiB",
        metavar="SIZE",
        help="drop the oldest above this, or `unlimited` (5GiB)",
    )
    parser.add_argument(
        "--prices", action="append", default=[], type=Path, metavar="FILE",
        help="prices of local or negotiated models, before the published ones (TOML or JSON)",
    )  # fmt: skip
    parser.add_argument(
        "--forward", metavar="URL",
        help="send finished spans on to this OTLP backend, at least once (LUMINA_FORWARD)",
    )  # fmt: skip
    parser.add_argument(
        "--spool", type=Path, metavar="DIR",
        help="take what killed programs of this machine left in their spool folder",
    )  # fmt: skip
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE",
        help="tokens for sending and reading, one a line, mode 0600 (LUMINA_TOKEN_FILE)",
    )  # fmt: skip
    parser.add_argument(
        "--max-connections", type=checked(parse_connections), default="10000", metavar="N",
        help="WebSockets that one token may have at once (without tokens: all), or `unlimited` (10000)",
    )  # fmt: skip
    parser.add_argument(
        "--max-rate", type=checked(parse_rate), default="256M", metavar="SIZE",
        help="bytes a second from one token (without tokens: one connection), or `unlimited` (256M)",
    )  # fmt: skip
    parser.add_argument("--tls-cert", type=Path, metavar="FILE",
                       help="serve HTTPS with this certificate and its chain (PEM)")  # fmt: skip
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's key (PEM)")
    parser.add_argument("--allow-host", action="append", default=[], metavar="HOST",
                       type=checked(parse_host),
                       help="accept this Host header too, behind a proxy")  # fmt: skip
    parser.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN",
                       type=checked(parse_allowed_origin),
                       help="accept browsers that come from this origin")  # fmt: skip
    parser.add_argument("--root-path", default="", metavar="PATH", help="prefix behind a proxy",
                       type=checked(parse_root_path))  # fmt: skip
    parser.add_argument(
        "--trust-proxy", action="store_true", help="believe X-Forwarded-* from a proxy"
    )
    parser.add_argument("--open", action="store_true", help="open the dashboard in the browser")
    parser.add_argument(
        "--log", choices=("auto", "console", "json"), default="auto", help="form of the log (auto)"
    )
    return parser


def _tail(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "tail", help="watch what runs", description="Watch traces while they run.",
        epilog=TAIL_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    parser.add_argument(
        "--url",
        metavar="U",
        type=checked(parse_url),
        help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )
    parser.add_argument("--json", action="store_true", help="print one fact a line, as JSON")
    parser.add_argument("--lines", action="store_true", help="print lines even on a terminal")
    parser.add_argument("--service", metavar="S", help="only traces of this service",
                      type=checked(name_of))  # fmt: skip
    parser.add_argument("--trace", metavar="ID", help="only this trace, from its beginning",
                      type=checked(trace_id_of))  # fmt: skip
    parser.add_argument("--name", metavar="GLOB", help="only traces whose root has such a name",
                      type=checked(name_of))  # fmt: skip
    parser.add_argument("--state", metavar="S", help=f"only traces in this state: {', '.join(STATES)}",
                      type=checked(state_of))  # fmt: skip
    parser.add_argument("--since", metavar="TIME", type=checked(since_of),
                      help="begin with what arrived since then: 30s, 10m, 2h")  # fmt: skip
    parser.add_argument(
        "--until-idle", action="store_true",
        help="end once a trace was seen and nothing has run for a second",
    )  # fmt: skip
    return parser


def _run(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "run", help="run a program and show its trace", usage="lumina-stream run [--url U] [--instrument] -- CMD ...",
        description="Run a program with tracing on, and show its tree at the end.",
        epilog=RUN_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    parser.add_argument(
        "--url",
        metavar="U",
        type=checked(parse_url),
        help=f"use this relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )
    parser.add_argument(
        "--instrument", action="store_true",
        help="trace the calls of the libraries that it uses, without a change to it",
    )  # fmt: skip
    return parser


def _export(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "export", help="write traces to a file", description="Write traces in another form.",
        epilog=EXPORT_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("otlp-json",), default="otlp-json", help="form (%(default)s)"
    )
    parser.add_argument(
        "--url", metavar="U", help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})"
    )
    parser.add_argument("--trace", metavar="ID", help="only this trace")
    parser.add_argument("--service", metavar="S", help="only traces of this service")
    parser.add_argument("--name", metavar="GLOB", help="only traces whose root has such a name")
    parser.add_argument(
        "--since", metavar="TIME", help="only what started since then: 30s, 10m, 2h"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write here instead of to stdout"
    )
    return parser


def _delete(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "delete", help="take a trace out of a relay, for good",
        description="Delete traces: from the views, the projections and the files of the log.",
        epilog=DELETE_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    parser.add_argument(
        "trace_ids", nargs="+", metavar="TRACE_ID", type=checked(trace_id_of), help="which ones"
    )
    parser.add_argument(
        "--url", metavar="U", type=checked(parse_url),
        help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )  # fmt: skip
    return parser


def _token(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "token", help="make a token for sending or reading",
        description="Make a token, show it once, and add it to a token file.",
        epilog=TOKEN_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    parser.add_argument(
        "kind",
        choices=KINDS,
        metavar="KIND",
        help="what it is for: write (send), read (see) or both",
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="add it to this token file")
    parser.add_argument("--label", metavar="TEXT", help="whose it is, to find its line again")
    return parser


def _check(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "check", help="verify a data folder",
        description="Read the whole log of a data folder and say whether it is sound.",
        epilog=CHECK_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    parser.add_argument(
        "data", type=Path, nargs="?", metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    return parser


def _backup(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "backup", help="copy a data folder, also while a relay writes it",
        description="Copy the log of a data folder as of now, and verify the copy.",
        epilog=BACKUP_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    parser.add_argument("target", type=Path, metavar="TARGET", help="a folder that does not exist")
    parser.add_argument(
        "--data", type=Path, metavar="DIR",
        help="data folder (the XDG state folder's lumina-stream)",
    )  # fmt: skip
    return parser


def _spool(commands: Commands) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "spool", help="look at or deliver what killed programs left",
        description="Look at the spools of a folder, or deliver what is left in them.",
        epilog=SPOOL_EPILOG, formatter_class=_RAW,
    )  # fmt: skip
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    show = actions.add_parser(
        "show", help="list the spools of a folder", epilog=SPOOL_EPILOG, formatter_class=_RAW
    )
    show.add_argument("folder", metavar="DIR", type=Path)
    show.add_argument("--json", action="store_true", help="print one spool a line, as JSON")
    send = actions.add_parser(
        "send", help="deliver what dead programs left", epilog=SPOOL_EPILOG, formatter_class=_RAW
    )
    send.add_argument("folder", metavar="DIR", type=Path)
    send.add_argument(
        "--url", metavar="U", type=checked(parse_url),
        help=f"the relay (LUMINA_ENDPOINT, else {DEFAULT_ENDPOINT})",
    )  # fmt: skip
    return parser


def _demo(commands: Commands) -> argparse.ArgumentParser:
    return commands.add_parser(
        "demo", help="watch a simulated pipeline",
        description="Watch a simulated RAG pipeline run, live in this terminal.",
        epilog=DEMO_EPILOG, formatter_class=_RAW,
    )  # fmt: skip


COMMANDS = {
    "serve": _serve,
    "tail": _tail,
    "run": _run,
    "export": _export,
    "delete": _delete,
    "token": _token,
    "check": _check,
    "backup": _backup,
    "spool": _spool,
    "demo": _demo,
}

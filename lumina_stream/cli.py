"""The command `lumina-stream`: serve, tail, run, export, delete, token, spool, check, backup, demo."""

import argparse
import gc
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from lumina_stream.cli_arguments import COMMANDS, make_parser
from lumina_stream.model.errors import LuminaError

NEEDS_EXTRA = 2
"""Exit code when something is not installed, and of argparse for wrong arguments."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 + SIGINT."""
EXTRA_HINT = "pip install 'lumina-stream[all]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, command = _split(given)
    if own and not own[0].startswith("-") and own[0] not in COMMANDS:
        parser.error(_no_command(own[0]))
    options, unknown = parser.parse_known_args(own)
    if unknown:
        getattr(options, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        match options.command:
            case "serve":
                gc.disable()  # none of what is imported is garbage; a relay that runs turns it on again
                try:
                    return _serve(options)
                finally:
                    gc.enable()
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


def _no_command(given: str) -> str:
    import difflib

    near = difflib.get_close_matches(given, COMMANDS, n=1)
    hint = (
        f"did you mean `lumina-stream {near[0]}`?" if near else f"there are {', '.join(COMMANDS)}"
    )
    return f"there is no command {given!r}; {hint}"


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


def _complain(message: str, code: int) -> int:
    print(f"lumina-stream: {message}", file=sys.stderr)
    return code

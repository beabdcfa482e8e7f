"""The command as people use it: real processes, their output and exit codes."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.relay_process import PATIENCE_S, RelayProcess, running_relay

from lumina_stream.cli import main
from lumina_stream.cli_values import parse_bytes
from lumina_stream.model.errors import ConfigurationError
from lumina_stream.viewing.running import service_name

REPOSITORY = Path(__file__).parents[1]

TRACED = """
import sys
import lumina_stream as lumina
print("read", sys.stdin.readline().strip(), flush=True)
with lumina.trace("job", kind="task"):
    with lumina.trace("part"):
        pass
    try:
        with lumina.trace("bad\\x1b[2J"):
            raise ValueError("nope")
    except ValueError:
        pass
sys.exit(3)
"""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    with running_relay(tmp_path_factory.mktemp("relay") / "data") as process:
        yield process


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LUMINA_")}
    return clean | {"PYTHONPATH": str(REPOSITORY), "XDG_STATE_HOME": str(tmp_path)} | more


def start(tmp_path: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lumina_stream", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(tmp_path, **more),
    )


def command(tmp_path: Path, *arguments: str, give: str = "", **more: str) -> tuple[int, str, str]:
    with start(tmp_path, *arguments, **more) as process:
        out, err = process.communicate(give, timeout=3 * PATIENCE_S)
    return process.returncode, out, err


def program(tmp_path: Path, source: str) -> str:
    path = tmp_path / "my_program.py"
    path.write_text(textwrap.dedent(source))
    return str(path)


def test_help_teaches(tmp_path: Path) -> None:
    """Without a command it helps; every command has examples; the version is said."""
    code, out, _ = command(tmp_path)
    assert code == 0
    assert "lumina-stream demo" in out
    for name in ("serve", "tail", "run", "token", "delete"):
        code, out, _ = command(tmp_path, name, "--help")
        assert code == 0
        assert "examples:" in out
    code, out, _ = command(tmp_path, "--version")
    assert re.fullmatch(r"lumina-stream \d+\.\d+\.\d+\n", out)


@pytest.mark.parametrize(("module", "arguments"), [("uvicorn", ["serve"]), ("apsw", ["demo"])])
def test_a_missing_extra(tmp_path: Path, module: str, arguments: list[str]) -> None:
    """What is not installed is named, with the line that installs it; exit code 2."""
    source = (
        f"import sys; sys.modules[{module!r}] = None\n"
        f"from lumina_stream.cli import main; sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment(tmp_path)
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"lumina-stream: {module} is not installed; pip install 'lumina-stream[all]'\n"
    )


def test_the_light_commands_import_little(tmp_path: Path) -> None:
    """Parsing arguments needs neither the relay's nor the viewers' libraries."""
    source = (
        "import sys; from lumina_stream.cli_arguments import make_parser; make_parser()\n"
        "print([m for m in ('rich', 'websockets', 'anyio', 'uvicorn', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment(tmp_path)
    )
    assert done.stdout == "[]\n", done.stderr


def test_run_with_a_relay_that_is_there(tmp_path: Path, relay: RelayProcess) -> None:
    """Input, output and exit code are the program's; link first and tree last on stderr."""
    code, out, err = command(
        tmp_path, "run", "--", sys.executable, program(tmp_path, TRACED),
        give="hello\n", LUMINA_ENDPOINT=relay.url,
    )  # fmt: skip
    assert (code, out) == (3, "read hello\n")
    lines = err.splitlines()
    assert lines[0] == f"lumina-stream: live at {relay.url}/"
    assert lines[1] == "lumina-stream: 1 trace, 3 spans"
    assert lines[2].startswith("✓ job  my_program  task")
    assert lines[3].startswith("├─ ✓ part ")
    assert lines[4].startswith("└─ × bad\\x1b[2J  ValueError: nope")
    assert "\x1b" not in err


def test_run_without_rich(tmp_path: Path, relay: RelayProcess) -> None:
    """The tree needs no library that a terminal's live tree needs."""
    arguments = ["run", "--", sys.executable, program(tmp_path, TRACED)]
    source = (
        "import sys; sys.modules['rich'] = None\n"
        f"from lumina_stream.cli import main; sys.exit(main({arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, encoding="utf-8",
        env=environment(tmp_path, LUMINA_ENDPOINT=relay.url), input="hello\n",
    )  # fmt: skip
    assert done.returncode == 3
    assert "✓ job  my_program  task" in done.stderr


def test_run_says_nothing_of_a_program_that_is_not_there(tmp_path: Path) -> None:
    """127 or 126 at once: no relay is started for it, and no link shown."""
    (tmp_path / "data.txt").touch()
    for name, code, said in (
        ("no-such-command-here", 127, "command not found: no-such-command-here"),
        (str(tmp_path / "data.txt"), 126, f"cannot run {tmp_path}/data.txt: not executable"),
        (str(tmp_path), 126, f"cannot run {tmp_path}: it is a folder"),
    ):
        found = command(tmp_path, "run", "--", name, LUMINA_ENDPOINT="http://127.0.0.1:1")
        assert found == (code, "", f"lumina-stream: {said}\n")
    assert not (tmp_path / "lumina-stream").exists()


def test_tail_says_when_the_relay_is_away(tmp_path: Path) -> None:
    """On stderr, also with --json, and when it is back."""
    with running_relay(tmp_path / "data") as relay:
        for more in (["--json"], ["--lines"]):
            with start(tmp_path, "tail", "--since", "1h", "--url", relay.url, *more) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                trace_something(tmp_path, relay.url)
                process.stdout.readline()
                port = relay.port
                relay.kill()
                line = process.stderr.readline()
                assert line.startswith(f"lumina-stream: the relay at {relay.url} is away")
                relay.start(port)
                line = process.stderr.readline()
                assert line == f"lumina-stream: the relay at {relay.url} is back\n"
                process.terminate()


@pytest.mark.parametrize("script", [["-m", "lumina_stream", "demo"], ["scripts/demo.py"]])
def test_demo_ends_quietly_on_ctrl_c(tmp_path: Path, script: list[str]) -> None:
    """The whole process group gets it, as from a terminal: nothing of the child is shown."""
    process = subprocess.Popen(
        [sys.executable, *script], cwd=REPOSITORY, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env=environment(tmp_path), start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stderr.readline()
        assert "127.0.0.1" in first
        if script[0] == "-m":
            process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "Traceback" not in err and "KeyboardInterrupt" not in err


def test_run_brings_its_own_relay(tmp_path: Path) -> None:
    """With nobody at the endpoint a relay runs as long as the program; its traces are kept."""
    source = "import lumina_stream as l, os, signal\nwith l.trace('job'): os.kill(os.getpid(), 9)"
    nowhere = {"LUMINA_ENDPOINT": "http://127.0.0.1:1"}
    code, _, err = command(tmp_path, "run", sys.executable, program(tmp_path, source), **nowhere)
    assert code == 128 + signal.SIGKILL
    assert "live at http://127.0.0.1:" in err
    not_used = "LUMINA_ENDPOINT is not used: nothing answers at http://127.0.0.1:1"
    assert err.splitlines()[0] == f"lumina-stream: {not_used} (connection refused)"
    assert "╳ job  interrupted, last seen " in err or "no trace" in err
    assert (tmp_path / "lumina-stream").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "--", "no-such-command-here"], 127, "command not found: no-such-command-here"),
        (["run"], 2, "lumina-stream run: error: run needs a command"),
        (["run", "--url", "http://127.0.0.1:1", "true"], 1, "no relay answers"),
        (["tail", "--url", "http://127.0.0.1:1"], 1, "nothing listens at http://127.0.0.1:1"),
        (["tail", "--since", "soon"], 2, "tail: error: argument --since: 'soon' is no time span"),
        (["tail", "--since", "0"], 2, "'0' is no time ago"),
        (["tail", "--state", "bad"], 2, "'bad' is no state; there are running, ok, error, cancel"),
        (["tail", "--trace", "zz"], 2, "'zz' is no trace id: 32 hex digits"),
        (["tail", "--service", ""], 2, "argument --service: it is empty"),
        (["tail", "--trace", "AB" * 16, "--until-idle"], 1, "no such trace at http"),
        (["tail", "--trace", "ab" * 16, "--until-idle", "--json"], 1, "no such trace at http"),
        (["tail", "--url", "ftp://x"], 2, "tail: error: argument --url: endpoint 'ftp://x'"),
        (["tail", "--bogus"], 2, "lumina-stream tail: error: unrecognized arguments: --bogus"),
        (["serve", "--max-bytes", "much"], 2, "error: argument --max-bytes: 'much' is no size"),
        (["serve", "--max-bytes", "1"], 2, "'1' is less than 1 MiB; write for example 500MiB"),
        (["serve", "--max-bytes", "-5"], 2, "'-5' is no size"),
        (["serve", "--keep", "0"], 2, "'0' is less than a minute; write for example 12h, 7d"),
        (["serve", "--keep", "-5"], 2, "'-5' is no time span"),
        (["serve", "--port", "65536"], 2, "'65536' is no port"),
        (["serve", "--root-path", "x"], 2, "'x' does not begin with a slash; write it as /x"),
        (["serve", "--allow-host", "http://x"], 2, "'http://x' is no host; write it as name"),
        (["serve", "--allow-origin", "x"], 2, "lumina-stream serve: error: argument --allow-or"),
        (["dance"], 2, "there is no command 'dance'; there are serve, tail"),
        (["tial"], 2, "there is no command 'tial'; did you mean `lumina-stream tail`?"),
        (["export", "all"], 2, "lumina-stream export: error: unrecognized arguments: all"),
    ],
)
def test_mistakes(
    tmp_path: Path, relay: RelayProcess, arguments: list[str], code: int, text: str
) -> None:
    """What is wrong is said in one line, with the value; no traceback."""
    found, out, err = command(tmp_path, *arguments, LUMINA_ENDPOINT=relay.url)
    assert (found, out) == (code, "")
    assert text in err
    assert "Traceback" not in err


def test_a_relay_that_does_not_start_leaves_the_collector_on(tmp_path: Path) -> None:
    """Whoever calls `main` in a process of their own goes on with it."""
    assert main(["serve", "--tls-cert", str(tmp_path / "none.pem")]) == 1
    assert gc.isenabled()


def test_run_of_a_program_without_traces(tmp_path: Path, relay: RelayProcess) -> None:
    """A program that is not traced just runs."""
    code, _, err = command(
        tmp_path, "run", "--", sys.executable, "-c", "pass", LUMINA_ENDPOINT=relay.url
    )
    assert code == 0
    assert "recorded no trace" in err


def test_ctrl_c_is_the_programs(tmp_path: Path, relay: RelayProcess) -> None:
    """A terminal's SIGINT reaches the program once; run waits for it and passes on its exit code."""
    source = """
    import signal, sys, time
    hits = []
    def note(*_):
        hits.append(1)
    signal.signal(signal.SIGINT, note)
    print("ready", flush=True)
    while not hits:
        time.sleep(0.01)
    time.sleep(0.2)
    print(len(hits), flush=True)
    sys.exit(7)
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "lumina_stream", "run", sys.executable, program(tmp_path, source)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=environment(tmp_path, LUMINA_ENDPOINT=relay.url),
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        assert process.stdout.read() == "1\n"
        assert process.wait(PATIENCE_S) == 7


def trace_something(tmp_path: Path, url: str) -> None:
    subprocess.run(
        [sys.executable, program(tmp_path, TRACED)], input="x\n", text=True, check=False,
        stdout=subprocess.DEVNULL, env=environment(tmp_path, LUMINA_ENDPOINT=url),
    )  # fmt: skip


def test_tail_json(tmp_path: Path, relay: RelayProcess) -> None:
    """One fact a line, as it is in the log; a reader that leaves early ends it silently."""
    trace_something(tmp_path, relay.url)
    code, out, err = command(
        tmp_path, "tail", "--json", "--since", "1h", "--until-idle", "--url", relay.url
    )
    assert (code, err) == (0, "")
    facts = [json.loads(line) for line in out.splitlines()]
    ours = [f for f in facts if f["service"] == "my_program" or f.get("name") == "job"]
    assert list(ours[0])[:5] == ["type", "offset", "producer_id", "seq", "service"]
    assert {"span_started", "span_ended"} <= {f["type"] for f in ours}
    offsets = [f["offset"] for f in facts]
    assert offsets == sorted(offsets)
    with start(tmp_path, "tail", "--json", "--since", "1h", "--url", relay.url) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("{")
        process.stdout.close()
        trace_something(tmp_path, relay.url)
        assert process.wait(PATIENCE_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_tail_lines(tmp_path: Path, relay: RelayProcess) -> None:
    """In a pipe it is lines, without colours; names cannot do anything."""
    trace_something(tmp_path, relay.url)
    code, out, err = command(tmp_path, "tail", "--since", "1h", "--until-idle", "--url", relay.url)
    assert (code, err) == (0, "")
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} [0-9a-f]{6}  \+ job  task", out, re.MULTILINE)
    assert "    x bad\\x1b[2J  " in out
    assert "ValueError: nope" in out
    assert "\x1b" not in out


def test_tail_ends_on_ctrl_c(tmp_path: Path, relay: RelayProcess) -> None:
    """Exit code 130, and not a word."""
    trace_something(tmp_path, relay.url)
    with start(tmp_path, "tail", "--since", "1h", "--url", relay.url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_serve(tmp_path: Path) -> None:
    """The URL is its one line on stdout; a second one on the port says who is there."""
    with start(tmp_path, "serve", "--port", "0", "--data", str(tmp_path / "d")) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        port = url.rpartition(":")[2]
        code, _, err = command(tmp_path, "serve", "--port", port, "--data", str(tmp_path / "e"))
        assert code == 1
        assert f"port {port} is in use by a lumina-stream relay (process {process.pid}, " in err
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert process.stdout.read() == ""


def test_serve_opens_the_dashboard(tmp_path: Path) -> None:
    """With --open the browser is told the address, once the relay serves it."""
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.part && mv {seen}.part {seen}\n')
    browser.chmod(0o755)
    serve = ("serve", "--open", "--port", "0", "--data", str(tmp_path / "d"))
    with start(tmp_path, *serve, BROWSER=str(browser)) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        deadline = time.monotonic() + PATIENCE_S
        while not seen.exists():
            assert time.monotonic() < deadline, "no browser was opened"
        assert seen.read_text().strip() == url
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    """The demonstration runs by itself, says that it is simulated, and ends."""
    code, out, err = command(tmp_path, "demo")
    assert code == 0
    assert "simulated" in err
    assert out.count("- rag_request") == 2
    assert "RateLimited" in out


def test_service_names() -> None:
    """A program is called by its script or module."""
    names = {
        "python app/main.py --x": "main",
        "python3.12 -m my.pkg": "my.pkg",
        "python -X dev -u job.py": "job",
        "python -c pass": "python",
        "/usr/bin/pytest -x": "pytest",
    }
    assert {line: service_name(line.split()) for line in names} == names


def test_parse_bytes() -> None:
    """Sizes as people write them."""
    assert [parse_bytes(t) for t in ("1000", "5GiB", "1.5k", "2 MB", "unlimited")] == [
        1000, 5 << 30, 1536, 2 << 20, None,
    ]  # fmt: skip
    for wrong in ("", "much", "-5", "0", "5 apples"):
        with pytest.raises(ConfigurationError, match="no size"):
            parse_bytes(wrong)

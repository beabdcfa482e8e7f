"""Token files: made, read, refused where others may read them, and read anew by a relay that runs."""

import os
import re
from pathlib import Path

import httpx
import pytest
from support.relay_process import running_relay

from lumina_stream import tokens
from lumina_stream.cli import main
from lumina_stream.model.errors import ConfigurationError
from lumina_stream.relay.token_watch import TokenWatch, fixed_tokens
from lumina_stream.transport.endpoint import token_for


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["token", *arguments])
    said = capsys.readouterr()
    return code, said.out.strip(), said.err


def test_made_once_and_different(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file the token is on stdout and nowhere else; no two are alike."""
    code, first, hint = made(capsys, "write")
    assert code == 0 and re.fullmatch(r"lumina_w_[\w-]{43}", first)
    assert "LUMINA_WRITE_TOKEN" in hint and first not in hint
    assert made(capsys, "write")[1] != first
    assert made(capsys, "both")[1].startswith("lumina_b_")


def test_a_file_of_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is made with mode 0600, whatever the umask, keeps what it had, and names whose a token is."""
    path = tmp_path / "tokens"
    before = os.umask(0)
    try:
        _, writer, _ = made(capsys, "write", "--file", str(path), "--label", "checkout \n service")
        _, reader, _ = made(capsys, "read", "--file", str(path))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert tokens.read_file(path) == [
        tokens.Secret("write", writer, "checkout service"),
        tokens.Secret("read", reader, "line 3"),
    ]
    path.write_text(f"read {'x' * 20}")  # by hand, without a newline at the end
    _, another, _ = made(capsys, "read", "--file", str(path))
    assert [one.value for one in tokens.read_file(path)] == ["x" * 20, another]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_may_use_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    """By all who read or write it, with the line that mends it."""
    path = tmp_path / "tokens"
    path.write_text(f"both {'t' * 20}\n")
    path.chmod(mode)
    mend = re.escape(f"(mode {mode:04o}); mend that with: chmod 600 {path}")
    with pytest.raises(tokens.TokenFileError, match=mend):
        tokens.read_file(path)
    with pytest.raises(ConfigurationError, match=mend):
        TokenWatch([], path).tokens()
    assert main(["token", "read", "--file", str(path)]) == 1
    assert re.search(mend, capsys.readouterr().err)
    assert path.read_text() == f"both {'t' * 20}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no token; add one with `lumina-stream token write --file"),
        ("# nothing\n\n", "holds no token"),
        ("lumina_w_0123456789abcdef\n", "line 1: a line is `write TOKEN label`"),
        ("admin lumina_w_0123456789abcdef\n", "line 1: a line is `write TOKEN label`"),
        ("write\n", "line 1: a line is"),
        ("write secret\n", "line 1: its token is shorter than 16 characters"),
        (f"read {'x' * 20}\nwrite {'é' * 20}\n", "line 2: its token"),
        ("\udcff", "is no text"),
        ("# " + "x" * tokens.MOST_BYTES, "it is no token file"),
    ],
)
def test_what_is_no_token_file(tmp_path: Path, text: str, said: str) -> None:
    """Said with the line, and never with what stands in it: it may be a token."""
    path = tmp_path / "tokens"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(tokens.TokenFileError) as refused:
        tokens.read_file(path)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value) and "xxxx" not in str(refused.value)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    """The way out is said."""
    with pytest.raises(tokens.TokenFileError, match="lumina-stream token write --file"):
        tokens.read_file(tmp_path / "none")
    with pytest.raises(tokens.TokenFileError, match="regular file"):
        tokens.read_file(tmp_path)


def test_who_sends_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of the kind, then LUMINA_TOKEN, then the first line of the kind in the file."""
    for name in ("LUMINA_WRITE_TOKEN", "LUMINA_READ_TOKEN", "LUMINA_TOKEN", "LUMINA_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert token_for("write") is None
    path = tmp_path / "tokens"
    path.write_text(f"read {'r' * 16}\nwrite {'w' * 16} a\nwrite {'v' * 16} b\n")
    path.chmod(0o600)
    monkeypatch.setenv("LUMINA_TOKEN_FILE", str(path))
    assert (token_for("write"), token_for("read")) == ("w" * 16, "r" * 16)
    monkeypatch.setenv("LUMINA_TOKEN", "both")
    assert (token_for("write"), token_for("read")) == ("both", "both")
    monkeypatch.setenv("LUMINA_READ_TOKEN", "mine")
    assert (token_for("write"), token_for("read")) == ("both", "mine")
    monkeypatch.delenv("LUMINA_TOKEN")
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        token_for("write")


def test_a_watch_takes_changes_and_keeps_what_it_has_when_they_are_wrong(tmp_path: Path) -> None:
    """A file that was spoilt while the relay runs locks nobody out, and is said."""
    path = tmp_path / "tokens"
    tokens.add_to_file(path, tokens.Secret("write", "w" * 20, "one"))
    watch = TokenWatch(fixed_tokens(None, "r" * 20), path)
    assert [t.label for t in watch.tokens()] == ["LUMINA_READ_TOKEN", "one"]
    taken: list[list[str]] = []
    log = _Log()

    def look() -> None:
        watch.look(lambda found: taken.append([t.label for t in found]), log)

    look()
    assert taken == []
    tokens.add_to_file(path, tokens.Secret("write", "v" * 20, "two"))
    look()
    look()
    assert taken == [["LUMINA_READ_TOKEN", "one", "two"]]
    path.write_text("nonsense")
    look()
    look()
    path.unlink()
    look()
    assert len(taken) == 1 and log.errors == 2
    tokens.add_to_file(path, tokens.Secret("write", "u" * 20, "three"))
    look()
    assert taken[1:] == [["LUMINA_READ_TOKEN", "three"]]


class _Log:
    errors = 0

    def error(self, text: str, **more: object) -> None:
        self.errors += 1

    def info(self, text: str, **more: object) -> None:
        assert "reason" not in more


def test_rotation_without_a_restart(tmp_path: Path) -> None:
    """A token that is added lets in, one that is taken away lets nobody in any more, cookies included."""
    path = tmp_path / "tokens"
    old, new = "o" * 20, "n" * 20
    tokens.add_to_file(path, tokens.Secret("both", old, "old"))
    with running_relay(tmp_path / "data", token_file=str(path)) as relay:

        def status(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return httpx.get(f"{relay.url}/v1/traces", headers=headers).status_code

        with httpx.Client(base_url=relay.url) as browser:
            assert browser.post("/v1/session", json={"token": old}).status_code == 204
            assert browser.get("/v1/traces").status_code == 200
            assert (status(old), status(new)) == (200, 401)
            tokens.add_to_file(path, tokens.Secret("both", new, "new"))
            until(lambda: status(new) == 200)
            assert status(old) == 200
            path.write_text(f"both {new} new\n")
            until(lambda: status(old) == 401)
            assert status(new) == 200
            assert browser.get("/v1/traces").status_code == 401
        relay.stop()
        assert "the tokens were read anew" in relay.stderr()
        assert old not in relay.stderr() and new not in relay.stderr()


def until(done: object) -> None:
    """Ask until it is so: each question is a round trip to the relay. The runner's timeout ends it."""
    import time

    limit = time.monotonic() + 30
    while not done():  # type: ignore[operator]
        assert time.monotonic() < limit

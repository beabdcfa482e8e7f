"""`lumina-stream spool`: what it shows of a folder, and what it sends."""

import json
import time
from pathlib import Path

import msgspec
import pytest
from support.logs import logged
from support.relay_process import new_hello, running_relay
from support.spools import event, fill
from test_cli import command
from test_relay_spools import new_file

from lumina_stream.protocol import frames, spool

NOBODY = "http://127.0.0.1:1"


def show(tmp_path: Path, folder: Path, *options: str) -> tuple[int, str, str]:
    return command(tmp_path, "spool", "show", str(folder), *options)


def send(tmp_path: Path, folder: Path, url: str) -> tuple[int, str, str]:
    return command(tmp_path, "spool", "send", str(folder), "--url", url)


def hello(producer_id: str, service: str = "svc") -> frames.Hello:
    return msgspec.structs.replace(
        new_hello(), producer_id=producer_id, service=service, pid=4321, host="here"
    )


def test_every_file_is_a_line(tmp_path: Path) -> None:
    """Alive, killed, ended, damaged and unreadable; hostile names are made visible."""
    folder = tmp_path / "spool"
    alive, ring = new_file(folder, hello("alive"))
    fill(ring, 3)
    killed, ring = new_file(folder, hello("killed", "bad\x1b[2J"))
    fill(ring, 1200)
    ring.take(200)
    ring.release(200)
    ended, ring = new_file(folder, hello("ended"))
    fill(ring, 2)
    ring.close()
    damaged, ring = new_file(folder, hello("damaged"))
    fill(ring, 9)
    for file in (killed, ended, damaged):
        file.close()
    image = bytearray(Path(damaged.path).read_bytes())
    image[spool.read_layout(memoryview(image).cast("Q")).data + 5] ^= 1
    Path(damaged.path).write_bytes(image)
    (folder / "junk.spool").write_bytes(b"junk" * 5_000)
    (folder / "old.spool.damaged").write_bytes(b"")
    code, out, err = show(tmp_path, folder)
    assert (code, err) == (1, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert next(iter(lines)) == "producer" and len(lines) == 7
    for name, state, events in (
        ("alive", "alive", "3"),
        ("killed", "killed", "1,000"),
        ("ended", "ended", "2"),
        ("damaged", "killed", "9"),
    ):
        assert lines[name].split()[2:5] == ["4321", state, events]
    assert "bad\\x1b[2J" in lines["killed"] and "\x1b" not in out
    assert lines["damaged"].split()[-1] == "1" and lines["killed"].split()[-1] == "0"
    assert "not a spool" in lines["junk.spool"] and "not a spool" in lines["old.spool.damaged"]

    code, out, _ = show(tmp_path, folder, "--json")
    assert code == 1
    found = {
        one["producer_id"] or Path(one["file"]).name: one
        for one in map(json.loads, out.splitlines())
    }
    assert found["killed"] == {
        "file": killed.path,
        "producer_id": "killed",
        "service": "bad\x1b[2J",
        "host": "here",
        "pid": 4321,
        "alive": False,
        "ended": False,
        "events": 1000,
        "bytes": sum(len(event(n)) for n in range(201, 1201)),
        "first_time_ns": 201,
        "last_time_ns": 1200,
        "damaged": 0,
        "file_bytes": Path(killed.path).stat().st_size,
        "problem": "",
    }
    assert found["alive"]["alive"] and found["ended"]["ended"]
    assert found["damaged"]["damaged"] == 1 and found["junk.spool"]["problem"]
    alive.remove()


def test_looking_changes_nothing(tmp_path: Path) -> None:
    file, ring = new_file(tmp_path / "spool", hello("p"))
    fill(ring, 3)
    file.close()
    before = Path(file.path).read_bytes()
    for _ in range(2):
        assert show(tmp_path, tmp_path / "spool")[0] == 0
    assert Path(file.path).read_bytes() == before


@pytest.mark.parametrize("act", ["show", "send"])
def test_nothing_there_and_no_folder(tmp_path: Path, act: str) -> None:
    (tmp_path / "spool").mkdir()
    code, out, err = command(tmp_path, "spool", act, str(tmp_path / "spool"))
    assert (code, out) == (0, "") and err.count("\n") == 1
    code, out, err = command(tmp_path, "spool", act, str(tmp_path / "missing"))
    assert (code, out) == (1, "")
    assert err == f"lumina-stream: cannot read {tmp_path / 'missing'}: No such file or directory\n"


def test_sending(tmp_path: Path) -> None:
    """What the dead left goes, with its damage; the living are left alone; nothing twice."""
    folder = tmp_path / "spool"
    alive, ring = new_file(folder, hello("alive"))
    fill(ring, 3)
    for name in ("one", "two"):
        file, ring = new_file(folder, hello(name))
        fill(ring, 2500 if name == "one" else 9)
        file.close()
    image = bytearray(Path(file.path).read_bytes())
    image[spool.read_layout(memoryview(image).cast("Q")).data + 5] ^= 1
    Path(file.path).write_bytes(image)
    file, _ = new_file(folder, hello("never recorded"))
    file.close()
    with running_relay(tmp_path / "data") as relay:
        code, out, err = send(tmp_path, folder, relay.url)
        assert code == 0, err
        assert out.splitlines() == [
            "one  svc  pid 4321  2,500 events",
            "two  svc  pid 4321  9 events, 1 of them damaged and reported as lost",
        ]
        assert f"{alive.path}: its program is alive and sends it itself" in err
        assert err.endswith(f"2,509 events of 2 programs delivered to {relay.url}\n")
        assert [path.name for path in folder.iterdir()] == ["alive.spool"]
        code, out, err = send(tmp_path, folder, relay.url)
        assert (code, out) == (0, "") and "0 events of 0 programs" in err
        relay.stop()
    found = logged(tmp_path / "data")
    assert (len(found["one"]), len(found["two"]), len(found)) == (2500, 9, 3)
    assert found["two"][0]["type"] == "events_lost"
    alive.remove()


def test_without_a_relay_the_files_stay(tmp_path: Path) -> None:
    file, ring = new_file(tmp_path / "spool", hello("p"))
    fill(ring, 3)
    file.close()
    (tmp_path / "spool" / "junk.spool").write_bytes(b"junk")
    code, out, err = send(tmp_path, tmp_path / "spool", NOBODY)
    assert (code, out) == (1, "")
    assert "nothing listens at http://127.0.0.1:1" in err and "0 events of 0 programs" in err
    assert "junk.spool.damaged: set aside, it cannot be read" in err
    assert Path(file.path).exists()


def test_a_token_is_sent(tmp_path: Path) -> None:
    file, ring = new_file(tmp_path / "spool", hello("p"))
    fill(ring, 3)
    file.close()
    with running_relay(tmp_path / "data", write_token="secret") as relay:
        code, _, err = send(tmp_path, tmp_path / "spool", relay.url)
        assert code == 1 and "HTTP 401" in err and "secret" not in err
        arguments = ("spool", "send", str(tmp_path / "spool"))
        code, out, err = command(
            tmp_path, *arguments, LUMINA_ENDPOINT=relay.url, LUMINA_WRITE_TOKEN="secret"
        )
        assert code == 0 and out.startswith("p  svc"), err


def test_help_says_what_a_spool_is(tmp_path: Path) -> None:
    for arguments in (
        ("spool", "--help"),
        ("spool", "show", "--help"),
        ("spool", "send", "--help"),
    ):
        code, out, _ = command(tmp_path, *arguments)
        assert code == 0 and "LUMINA_SPOOL_DIR" in out and "spool send" in out
    code, _, err = command(tmp_path, "spool")
    assert code == 2 and "show DIR" in err
    assert "--spool DIR" in command(tmp_path, "serve", "--help")[1]


def test_times_are_of_this_place(tmp_path: Path) -> None:
    file, ring = new_file(tmp_path / "spool", hello("p"))
    now = time.time_ns()
    assert ring.append(event(now), ring.capacity)
    file.close()
    _, out, _ = show(tmp_path, tmp_path / "spool")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now / 1e9))
    assert out.splitlines()[1].count(when) == 2

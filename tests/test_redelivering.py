"""Programs with a spool, from start to end: what the next one delivers, and when a file goes."""

import signal
from pathlib import Path

import pytest
from support.logs import logged
from support.programs import program, run
from support.relay_process import new_hello, running_relay
from support.spools import fill
from test_relay_spools import new_file, said_of, wait_for

NOBODY = "http://127.0.0.1:1"


def test_a_program_that_is_delivered_leaves_no_file(tmp_path: Path) -> None:
    source = """
        import os, sys
        import lumina_stream as lumina

        lumina.init("short", spool_dir=sys.argv[1])
        with lumina.trace("only"):
            pass
        assert len(os.listdir(sys.argv[1])) == 1
        assert lumina.shutdown(60)
        assert os.listdir(sys.argv[1]) == []
        with lumina.trace("after the end"):
            pass
        print(lumina.statistics().producer_id)
    """
    with running_relay(tmp_path / "data") as relay:
        out, err = run(source, relay.url, str(tmp_path / "spool"))
        assert err == ""
        relay.stop()
    assert len(logged(tmp_path / "data")[out.strip()]) == 2
    assert said_of(tmp_path / "data", out.strip())[-1] == "producer_ended"


def test_a_program_that_is_not_leaves_it_quietly(tmp_path: Path) -> None:
    """Without a relay: nothing is lost, so there is nothing to warn of."""
    source = """
        import sys
        import lumina_stream as lumina

        lumina.init("alone", spool_dir=sys.argv[1])
        with lumina.trace("only"):
            pass
    """
    _, err = run(source, NOBODY, str(tmp_path / "spool"))
    assert err == "" and len(list((tmp_path / "spool").iterdir())) == 1


def test_the_next_start_delivers_what_was_left(tmp_path: Path) -> None:
    """Beside its own events; what cannot be read is set aside, and its own file is not touched."""
    folder, hello, other = tmp_path / "spool", new_hello(), new_hello()
    file, ring = new_file(folder, hello)
    fill(ring, 3000)
    ended, other_ring = new_file(folder, other)
    fill(other_ring, 2)
    other_ring.close()
    empty, _ = new_file(folder, new_hello())
    for one in (file, ended, empty):
        one.close()
    (folder / "junk.spool").write_bytes(b"junk" * 5_000)
    source = """
        import os, sys, time
        import lumina_stream as lumina

        lumina.init("next")  # LUMINA_SPOOL_DIR says where
        with lumina.trace("own"):
            print("begun", flush=True)
            sys.stdin.readline()
        said = lumina.statistics()
        while said.redelivered_spools < 2 or not said.redelivery_error:  # counted after the file is gone
            time.sleep(0.01)
            said = lumina.statistics()
        print(said.redelivered, said.redelivered_spools, said.redelivery_error)
        print(os.path.basename(said.spool), said.spool_bytes > 0)
        assert lumina.shutdown(60)
    """
    with running_relay(tmp_path / "data") as relay:
        with program(source, relay.url, LUMINA_SPOOL_DIR=str(folder)) as process:
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline() == "begun\n"
            wait_for(lambda: len(list(folder.iterdir())) == 2, "it is not delivered")
            out, err = process.communicate("go\n", timeout=60)
            assert (process.returncode, err) == (0, "")
        figures, own = out.splitlines()
        assert figures.startswith("3002 2 ") and "junk.spool.damaged cannot be read" in figures
        assert own.endswith(".spool True")
        assert [path.name for path in folder.iterdir()] == ["junk.spool.damaged"]
        relay.stop()
    found = logged(tmp_path / "data")
    assert (len(found[hello.producer_id]), len(found[other.producer_id])) == (3000, 2)
    assert said_of(tmp_path / "data", hello.producer_id)[-1] == "producer_lost"
    assert said_of(tmp_path / "data", other.producer_id)[-1] == "producer_ended"


def test_init_again_delivers_what_the_one_before_could_not(tmp_path: Path) -> None:
    """In one process: the earlier file is let go of, and the later runtime delivers it."""
    source = """
        import os, sys, time
        import lumina_stream as lumina

        folder, url = sys.argv[1:]
        lumina.init("first", spool_dir=folder, endpoint="http://127.0.0.1:1")
        span = lumina.start_span("over both")
        first = lumina.statistics().producer_id
        lumina.init("second", spool_dir=folder, endpoint=url)
        span.end()
        while not lumina.statistics().redelivered_spools:
            time.sleep(0.01)
        print(first, lumina.statistics().producer_id)
        assert lumina.shutdown(60)
        assert os.listdir(folder) == []
    """
    with running_relay(tmp_path / "data") as relay:
        out, _ = run(source, None, str(tmp_path / "spool"), relay.url)
        relay.stop()
    first, second = out.split()
    found = logged(tmp_path / "data")
    assert [e["type"] for e in found[first]] == ["span_started"]
    assert [e["type"] for e in found[second]] == ["span_ended"]


def test_two_starts_at_once_deliver_each_file_once(tmp_path: Path) -> None:
    """Whoever gets the lock; the other one leaves it alone."""
    folder = tmp_path / "spool"
    hellos = [new_hello() for _ in range(6)]
    for hello in hellos:
        file, ring = new_file(folder, hello)
        fill(ring, 500)
        file.close()
    source = """
        import sys
        import lumina_stream as lumina

        lumina.init("next")
        with lumina.trace("own"):
            sys.stdin.readline()
        said = lumina.statistics()
        print(said.redelivered, said.redelivery_error, flush=True)
        assert lumina.shutdown(60)
    """
    with running_relay(tmp_path / "data") as relay:
        with (
            program(source, relay.url, LUMINA_SPOOL_DIR=str(folder)) as one,
            program(source, relay.url, LUMINA_SPOOL_DIR=str(folder)) as two,
        ):
            names = {f"{hello.producer_id}.spool" for hello in hellos}
            wait_for(
                lambda: not names & {path.name for path in folder.iterdir()}, "it is not delivered"
            )
            figures = [process.communicate("go\n", timeout=60)[0] for process in (one, two)]
        assert sum(int(said) for said in figures) == 3000
        assert list(folder.iterdir()) == []
        relay.stop()
    found = logged(tmp_path / "data")
    assert [len(found[hello.producer_id]) for hello in hellos] == [500] * 6


@pytest.mark.parametrize("fork", ["os.fork()", "ctypes.PyDLL(None).fork()"])
def test_a_fork_while_something_is_delivered(tmp_path: Path, fork: str) -> None:
    """The child holds no lock of what its parent delivers: once the parent is dead others may go on."""
    folder, hello = tmp_path / "spool", new_hello()
    file, ring = new_file(folder, hello)
    fill(ring, 10)
    file.close()
    source = f"""
        import ctypes, os, sys, time
        import lumina_stream as lumina
        from lumina_stream import spool_folder

        runtime = lumina.init("parent", spool_dir=sys.argv[1])
        runtime._exporter.park()
        held = list(spool_folder.left_behind(sys.argv[1]))
        assert len(held) == 1
        if {fork} == 0:
            with lumina.trace("child"):
                pass
            print("child", flush=True)
            sys.stdin.read()
            os._exit(0)
        os.kill(os.getpid(), 9)
    """
    with running_relay(tmp_path / "data", spool=str(folder)) as relay:
        # What is delivered by the relay here proves that nobody holds it.
        with program(source, NOBODY, str(tmp_path / "other")) as process:
            assert process.wait() != 0  # the folder is empty: the program says so
        wait_for(lambda: not list(folder.iterdir()), "it is not delivered")
        relay.stop()
    file, ring = new_file(folder, hello)
    fill(ring, 10)
    file.close()
    with program(source, NOBODY, str(folder)) as process:
        assert process.stdout is not None and process.stdout.readline() == "child\n"
        assert process.wait() == -signal.SIGKILL
        with running_relay(tmp_path / "more", spool=str(folder)) as relay:
            wait_for(lambda: not Path(file.path).exists(), "the child holds it")
            relay.stop()
    assert len(logged(tmp_path / "more")[hello.producer_id]) == 10

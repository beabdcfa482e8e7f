"""The folder of spools: who holds a file, who may take it, and what is none."""

import os
import signal
from pathlib import Path

import pytest
from support.programs import program

from lumina_stream import spool_folder
from lumina_stream.spool_folder import ASIDE, SpoolFile, create, left_behind, look, paths, take


def new_file(folder: Path, name: str = "a") -> SpoolFile:
    return create(str(folder), name, 8192, lambda memory: memory.__setitem__(0, 7))


def test_a_file_is_held_until_it_is_let_go(tmp_path: Path) -> None:
    """Also within one process: a program never takes its own for one that was left."""
    file = new_file(tmp_path)
    path = file.path
    assert path == str(tmp_path / "a.spool") and file.memory[0] == 7
    assert take(path) is None and list(left_behind(str(tmp_path))) == []
    assert look(path)[1]
    file.close()
    assert not look(path)[1]
    (found,) = left_behind(str(tmp_path))
    assert found.path == path and found.memory[0] == 7
    assert take(path) is None, "one reader at a time"
    found.close()
    found.close()
    again = take(path)
    assert again is not None
    again.remove()
    assert list(tmp_path.iterdir()) == [] and take(path) is None


def test_a_mapping_that_is_still_used_does_not_hold_the_lock(tmp_path: Path) -> None:
    file = new_file(tmp_path)
    memory = file.memory
    file.close()
    found = take(file.path)
    assert found is not None and memory[0] == 7
    found.remove()


def test_another_process_holds_its_file_until_it_dies(tmp_path: Path) -> None:
    source = """
        import sys, time
        from lumina_stream.spool_folder import create

        file = create(sys.argv[1], "a", 8192, lambda memory: None)
        print("ready", flush=True)
        sys.stdin.read()
    """
    path = str(tmp_path / "a.spool")
    with program(source, None, str(tmp_path)) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert take(path) is None and look(path)[1]
        process.send_signal(signal.SIGKILL)
        process.wait()
        file = take(path)
        assert file is not None
        file.close()


def test_one_that_was_removed_meanwhile_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another reader delivered and removed it after we had opened it."""
    new_file(tmp_path).close()
    path = str(tmp_path / "a.spool")
    lock = spool_folder._lock

    def removed_first(fd: int) -> None:
        os.unlink(path)
        Path(path).write_bytes(b"another file")
        lock(fd)

    monkeypatch.setattr(spool_folder, "_lock", removed_first)
    assert take(path) is None
    assert Path(path).read_bytes() == b"another file"


def test_the_oldest_comes_first_and_only_spools_count(tmp_path: Path) -> None:
    last = 0
    for name in ("b", "c", "a"):
        new_file(tmp_path, name).close()
        path = tmp_path / f"{name}.spool"
        while path.stat().st_ctime_ns <= last:  # the file system's clock ticks slowly
            path.chmod(0o600)
        last = path.stat().st_ctime_ns
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "folder.spool").mkdir()
    (tmp_path / "link.spool").symlink_to(tmp_path / "a.spool")
    assert [Path(path).stem for path in paths(str(tmp_path))] == ["b", "c", "a"]
    assert take(str(tmp_path / "link.spool")) is None


def test_what_somebody_else_left_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_file(tmp_path).close()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert paths(str(tmp_path)) == []


def test_a_file_that_is_set_aside_is_not_tried_again(tmp_path: Path) -> None:
    file = new_file(tmp_path)
    assert file.set_aside() == str(tmp_path / f"a{ASIDE}")
    assert paths(str(tmp_path)) == [] and len(paths(str(tmp_path), ASIDE)) == 1


def test_an_empty_file_is_looked_at_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "empty.spool").write_bytes(b"")
    (file,) = left_behind(str(tmp_path))
    assert bytes(file.memory) == bytes(len(file.memory))
    file.close()


def test_what_a_killed_process_was_making_goes_after_a_while(tmp_path: Path) -> None:
    young, old = tmp_path / ".young.new", tmp_path / ".old.new"
    for path in (young, old):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    assert paths(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == [young]


def test_nothing_stays_of_one_that_could_not_be_made(tmp_path: Path) -> None:
    def fail(memory: object) -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        create(str(tmp_path), "a", 8192, fail)
    assert list(tmp_path.iterdir()) == []


def test_nobody_sees_a_file_before_it_is_whole(tmp_path: Path) -> None:
    seen: list[str] = []
    create(str(tmp_path), "a", 8192, lambda _: seen.extend(paths(str(tmp_path)))).close()
    assert seen == [] and len(paths(str(tmp_path))) == 1


def test_a_system_that_cannot_allocate_writes_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    file = create(str(tmp_path), "a", 3_000_000, lambda memory: None)
    status = os.stat(file.path)
    assert (status.st_size, bytes(file.memory)) == (3_000_000, bytes(3_000_000))
    assert status.st_blocks * 512 >= 3_000_000
    file.remove()


def test_two_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    (tmp_path / ".a.new").write_bytes(b"")
    with pytest.raises(FileExistsError):
        new_file(tmp_path)
    assert (tmp_path / ".a.new").exists(), "it is not ours to remove"

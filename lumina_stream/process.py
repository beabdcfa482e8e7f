"""What tells one process from another, also after its pid was given to a third one.

A leaf beside the rooms: the program says it of itself, the relay looks it up.
"""

import os
import sys


def new_identity() -> tuple[str, str]:
    """Return a producer id and a nonce that nobody has."""
    return os.urandom(8).hex(), os.urandom(8).hex()


def process_start(pid: int) -> int:
    """Return when a process was started, in clock ticks since boot; 0 where that cannot be told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything; the fields after it are counted from 3.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def boot_id() -> str:
    """Return an id of this boot of this machine, empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def pid_namespace() -> int:
    """Return the id of this process's pid namespace, 0 where there is none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def threads_are_gevents() -> bool:
    """Tell whether gevent has replaced threads by tasks of one thread (`monkey.patch_all`)."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("_thread"))


def warn_of_gevent() -> None:
    """Say on the package's logger why tracing stays off."""
    import logging

    logging.getLogger("lumina_stream").warning(
        "lumina-stream stays off: gevent has replaced threads (monkey.patch_all), and the exporter needs "
        "one of its own. Trace under threads or asyncio (gunicorn: --worker-class gthread), or patch "
        "without threads: monkey.patch_all(thread=False)"
    )

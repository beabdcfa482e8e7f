"""How a process ends: what must be called on its way out, and the exit code it leaves with. A leaf beside the rooms."""

import os
import sys
from collections.abc import Callable

_asked_by = 0
"""The process whose way out is known to lead through what `call_at_exit` was given."""


def call_at_exit(leave: Callable[[], None]) -> None:
    """In a child that leaves by `os._exit`, and so skips atexit: call `leave` from what it does call.

    That is a finaliser in `multiprocessing`, and a signal in Celery, whose pool is another. Both forget
    what the parent had registered.
    """
    global _asked_by
    if _asked_by == os.getpid():
        return
    _asked_by = os.getpid()
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, leave, exitpriority=10)
    celery = sys.modules.get("celery.signals")
    if celery is not None:

        def leave_worker(**_: object) -> None:
            leave()

        celery.worker_process_shutdown.connect(leave_worker, weak=False)


def keep_interrupted_exit() -> None:
    """Keep the exit code of a program that died of Ctrl-C.

    CPython remembers that in a flag which any `exec` of a text clears, and modules that our thread
    imports while the program ends (`namedtuple`) do that. The same call sets it again.
    """
    last: object = getattr(sys, "last_value", None)
    if isinstance(last, KeyboardInterrupt) and not hasattr(sys, "ps1"):
        try:
            exec("raise KeyboardInterrupt")  # noqa: S102
        except KeyboardInterrupt:
            pass

"""Freed memory, given back to the system: glibc keeps what lies below anything that is still in use.

After a burst that is most of what was ever pending, scattered among what lives on.
"""

import ctypes
from collections.abc import Callable


def give_back() -> None:
    """Give freed memory back, where the C library can; some milliseconds, to be run beside the loop."""
    trim = _trim()
    if trim is not None:
        trim(0)


def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # another C library, or another system
        return None

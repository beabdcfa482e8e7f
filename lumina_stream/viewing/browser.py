"""The dashboard in a person's browser, where there is a screen."""

import contextlib
import os
import sys
import threading

_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def open_page(address: str) -> bool:
    """Open an address in the person's browser; tell whether there is one to open it in.

    Not over SSH and not without a screen: the browser that starts there is a text one, in this
    terminal. `BROWSER` names another program, as ever.
    """
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in _SCREENS):
        return False
    import webbrowser

    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False


def wait_for_interrupt() -> None:
    """Wait until the person presses Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()

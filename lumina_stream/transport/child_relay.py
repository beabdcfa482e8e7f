"""A relay as a child process, for `init(serve=True)` and `lumina-stream run`."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from lumina_stream.model.errors import ConfigurationError


class ChildRelay:
    """A running relay: `url` says where it listens."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    @classmethod
    def start(cls, *arguments: str, stderr: Any = subprocess.DEVNULL) -> ChildRelay:
        """Start `lumina-stream serve` on a free port and wait until it listens.

        `arguments` go to `serve`. Raises `ConfigurationError` when it does not come up.
        """
        command = [sys.executable, "-m", "lumina_stream", "serve", "--port", "0", *arguments]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # Ctrl-C in the terminal is for the program: the relay must still take what it says last.
            start_new_session=True,
        )
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url.startswith("http"):
            process.kill()
            process.wait()
            raise ConfigurationError(
                "a relay could not be started; `lumina-stream serve` says why "
                "(it needs: pip install 'lumina-stream[relay]')"
            )
        return cls(process, url)

    def close(self) -> None:
        """End the relay and wait for it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

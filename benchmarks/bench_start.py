"""What do import, `init` and exit add to a program, with and without a relay?

Whole processes, interleaved, wall clock. Beside them: bare Python, and Python with msgspec imported.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

from lumina_stream.transport.child_relay import ChildRelay

ROUNDS = 15
PROGRAMS = {
    "bare Python": "pass",
    "import msgspec": "import msgspec",
    "import lumina_stream": "import lumina_stream",
    "1 span, no relay": "import lumina_stream as l; l.init()\nwith l.trace('x'): pass",
    "1 span, relay": "import lumina_stream as l; l.init()\nwith l.trace('x'): pass",
    "0.5 s, off": "import lumina_stream as l, time\nwith l.trace('x'): time.sleep(0.5)",
    "0.5 s, no relay": "import lumina_stream as l, time; l.init()\nwith l.trace('x'): time.sleep(0.5)",
    "0.5 s, relay": "import lumina_stream as l, time; l.init()\nwith l.trace('x'): time.sleep(0.5)",
}


def main() -> None:
    """Print the table."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LUMINA_")}
    figures: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            for _ in range(ROUNDS):
                for name, source in PROGRAMS.items():
                    environment = dict(clean)
                    if name.endswith(", relay"):
                        environment["LUMINA_ENDPOINT"] = relay.url
                    elif "no relay" in name:
                        environment["LUMINA_ENDPOINT"] = "http://127.0.0.1:9"
                    started = time.perf_counter()
                    subprocess.run(
                        [sys.executable, "-c", source],
                        env=environment,
                        check=True,
                        stderr=subprocess.DEVNULL,
                    )
                    figures[name].append((time.perf_counter() - started) * 1e3)
        finally:
            relay.close()
    bare = statistics.median(figures["bare Python"])
    for name, values in figures.items():
        median = statistics.median(values)
        print(
            f"{name:22} median {median:6.0f} ms  min {min(values):6.0f} ms  over bare {median - bare:6.0f} ms"
        )


if __name__ == "__main__":
    main()

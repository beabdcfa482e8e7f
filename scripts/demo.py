"""Run examples/rag_pipeline.py against a relay of its own and show its tree while it grows.

With a terminal the tree is live, and on a desktop the dashboard opens beside it; without a terminal the
link comes first and the finished tree last.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = [sys.executable, str(ROOT / "examples" / "rag_pipeline.py"), *sys.argv[1:]]
COMMAND = [sys.executable, "-m", "lumina_stream"]


def main() -> int:
    """Run the demo; the exit code is the pipeline's."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        # In a session of its own: Ctrl-C ends it quietly instead of with a traceback.
        program = subprocess.Popen([*COMMAND, "run", "--", *PIPELINE], start_new_session=True)
        try:
            return program.wait()
        except KeyboardInterrupt:
            program.terminate()
            program.wait()
            raise
    from lumina_stream.transport.child_relay import ChildRelay
    from lumina_stream.viewing.browser import open_page, wait_for_interrupt

    with tempfile.TemporaryDirectory(prefix="lumina-demo-") as folder:
        relay = ChildRelay.start("--data", folder)
        try:
            opened = open_page(f"{relay.url}/")
            code = watch(relay.url, Path(folder) / "answer.txt")
            if opened:
                print(f"the dashboard stays until Ctrl-C: {relay.url}/")
                wait_for_interrupt()
            return code
        finally:
            relay.close()


def watch(url: str, answer: Path) -> int:
    """Show the live tree until the pipeline is done, then what it answered."""
    print(
        f"dashboard: {url}/\npipeline: examples/rag_pipeline.py over the documents in examples/documents\n"
    )
    environment = {**os.environ, "LUMINA_ENDPOINT": url}
    with answer.open("w") as output:
        pipeline = subprocess.Popen(
            PIPELINE,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            subprocess.run([*COMMAND, "tail", "--url", url, "--until-idle"], check=False)
        except KeyboardInterrupt:
            pipeline.terminate()
            pipeline.wait()
            raise
        code = pipeline.wait()
    print(answer.read_text())
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

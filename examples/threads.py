"""A thread pool: `lumina.propagate` makes the work in the threads part of the caller's trace.

A thread starts with an empty context, so without it each piece of work would begin a trace of
its own. Watch it:

    lumina-stream serve            # terminal 1
    lumina-stream tail             # terminal 2
    python examples/threads.py     # terminal 3
"""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lumina_stream as lumina

FILES = sorted((Path(__file__).parent / "documents").glob("*.md"))[:12]


@lumina.trace("hash_file", kind="task")
def hash_file(path: Path) -> str:
    span = lumina.current_span()
    span.set_attribute("file", path.name)
    content = path.read_bytes()
    time.sleep(0.2)  # So that the four threads can be seen working side by side.
    span.set_attribute("bytes", len(content))
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    with (
        lumina.trace("hash_folder", kind="task", files=len(FILES)),
        ThreadPoolExecutor(max_workers=4) as executor,
    ):
        digests = list(executor.map(lumina.propagate(hash_file), FILES))
    for path, digest in zip(FILES, digests, strict=True):
        print(digest[:12], path.name)


if __name__ == "__main__":
    lumina.init(service_name="threads")
    main()

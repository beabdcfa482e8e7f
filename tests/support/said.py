"""The relay's log, for a test: what nobody had foreseen fails it, all else is not kept."""

import traceback

from lumina_stream.relay.console import RelayLog


class Said(RelayLog):
    """Keep the exceptions that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[str] = []

    def log(self, level: int, said: str, **facts: object) -> None:
        if facts.get("exc_info"):
            self.failures.append(f"{said}\n{traceback.format_exc()}")

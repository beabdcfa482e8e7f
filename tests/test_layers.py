"""The house: a room imports only rooms to its left, and the inner two nothing but msgspec."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lumina_stream

PACKAGE = Path(lumina_stream.__file__).parent
LEFT = ["model", "protocol", "recording", "transport", "runtime", "llm", "instrument"]
MAY_IMPORT = {room: set(LEFT[:place]) for place, room in enumerate(LEFT)} | {
    "formats": {"model"},
    "relay": {"model", "protocol", "formats"},
    "viewing": {"model", "protocol", "transport"},
}
PURE = {"model", "protocol"}
LEAVES = {"version", "process", "leaving", "spool_folder", "tokens"}
"""Beside the rooms: import nothing of the house, so that every room may have them."""
COMMAND = {"cli", "cli_arguments", "cli_help", "cli_values"}
EVERY_ROOM = set(MAY_IMPORT) | LEAVES | COMMAND | {"demo", "__init__", "__main__", "dashboard"}


def imports(source: str, module: str, *, is_package: bool = False) -> Iterator[str]:
    """Yield the full name of every import in a module's source, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            up = node.level - 1 if is_package else node.level
            start = ".".join(parts[: len(parts) - up]) if node.level else ""
            found = ".".join(part for part in (start, node.module) if part)
            # `from lumina_stream import model` names the room in the alias.
            if found == "lumina_stream":
                yield from (f"{found}.{alias.name}" for alias in node.names)
            else:
                yield found


def wrong(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """Return the imports of a module that its room may not have."""
    room = module.split(".")[1] if "." in module else "__init__"
    if room not in MAY_IMPORT:
        return []
    found: list[str] = []
    for name in imports(source, module, is_package=is_package):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "lumina_stream":
            if target not in MAY_IMPORT[room] | {room} | LEAVES:
                found.append(name)
        elif room in PURE and top not in sys.stdlib_module_names | {"msgspec"}:
            found.append(name)
    return found


def modules() -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_a_room_imports_only_rooms_to_its_left(module: str, path: Path) -> None:
    """Section 2 of the design."""
    assert wrong(path.read_text("utf-8"), module, is_package=path.name == "__init__.py") == []


def test_every_room_is_in_the_plan() -> None:
    """A new room must be given its place first."""
    rooms = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert rooms <= EVERY_ROOM


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lumina_stream.model.x", "from lumina_stream.protocol import frames"),
        ("lumina_stream.model.x", "def f():\n    import anyio"),
        ("lumina_stream.protocol.x", "from lumina_stream import relay"),
        ("lumina_stream.protocol.x", "from ..relay import hub"),
        ("lumina_stream.relay.x", "import lumina_stream.transport.exporter"),
        ("lumina_stream.relay", "from ..viewing import client"),
        ("lumina_stream.viewing.x", "import lumina_stream"),
        ("lumina_stream.formats.x", "from lumina_stream.protocol import frames"),
        ("lumina_stream.runtime", "from lumina_stream.instrument import openai"),
        ("lumina_stream.recording.x", "import lumina_stream.runtime"),
    ],
)
def test_the_check_sees_what_it_must(module: str, source: str) -> None:
    """Each of these is an import to the right, or one too many."""
    assert wrong(source, module, is_package=module == "lumina_stream.relay")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("lumina_stream.model.x", "import msgspec, os\nfrom . import limits\nfrom .tree import T"),
        ("lumina_stream.protocol.x", "from lumina_stream.model import codec"),
        ("lumina_stream.relay.x", "import starlette\nfrom lumina_stream.formats import otlp"),
        ("lumina_stream.runtime", "from lumina_stream.transport import exporter"),
        ("lumina_stream.cli", "from lumina_stream.relay import app"),
    ],
)
def test_the_check_lets_the_rest_pass(module: str, source: str) -> None:
    """Leftwards, and the room itself."""
    assert wrong(source, module) == []

"""Which libraries can be hooked, when their hooks are put in, and how they come out again.

A hook is put in when the program imports the module that it belongs to: nothing is imported that
the program does not import. It is a replaced attribute, and taking it out restores the original. A
hook whose place does not look as expected stays out, with one line in the log of `lumina_stream`;
the others go in.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, TypeAlias

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.recording.values import type_of

Install: TypeAlias = Callable[[ModuleType, "Patches"], None]
"""Put in the hooks of one module, which has just been imported."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "openai": ("openai",),
    "anthropic": ("anthropic",),
    "google-genai": ("google.genai",),
    "mistralai": ("mistralai",),
    "litellm": ("litellm",),
    "langchain": ("langchain_core", "langsmith"),
    "llama-index": ("llama_index_instrumentation", "llama_index"),
    "openai-agents": ("agents",),
    "pydantic-ai": ("pydantic_ai",),
    "mcp": ("mcp",),
    "httpx": ("httpx",),
    "httpx2": ("httpx2",),
    "requests": ("requests",),
    "opentelemetry": ("opentelemetry.sdk",),
}
"""Name of each library, and the packages in which its hooks are. Langgraph is langchain's."""

_OTHER_NAMES = {
    "langgraph": "langchain",
    "langchain-core": "langchain",
    "llamaindex": "llama-index",
}
_OTHER_MODULES = {"httpx2": "httpx", "opentelemetry": "opentelemetry_bridge"}


class Patch:
    """One replaced attribute. `on` is read by what stands in its place at every call."""

    __slots__ = ("name", "on", "original", "owner", "replacement")

    def __init__(self, owner: Any, name: str, original: Any) -> None:
        self.owner = owner
        self.name = name
        self.original = original
        self.replacement: Any = None
        self.on = True

    def undo(self) -> None:
        """Restore the original; what was put over it by others stays, and ours becomes transparent."""
        self.on = False
        if _held(self.owner, self.name) is self.replacement:
            setattr(self.owner, self.name, self.original)


class Patches:
    """What has been put into one library, to be taken out again."""

    def __init__(self, library: str) -> None:
        self.library = library
        self.installed: set[str] = set()
        self._patches: list[Patch] = []
        self._undo: list[Callable[[], object]] = []

    def replace(
        self,
        owner: Any,
        name: str,
        make: Callable[[Any, Patch], Any],
        needs: Iterable[str] = (),
    ) -> None:
        """Put `make(original, patch)` in the place of an attribute of a class or module.

        `needs`: parameters that the original must have. Without them, or without the attribute, the
        hook stays out and that is logged, once.
        """
        where = (
            f"{getattr(owner, '__qualname__', None) or getattr(owner, '__name__', owner)}.{name}"
        )
        original = _held(owner, name)
        if original is None:
            self.complain(where, "it is missing")
            return
        holder: Any = kind if (kind := type_of(original)) in (staticmethod, classmethod) else None
        function: Any = original if holder is None else original.__func__
        lacking = _lacking(function, needs)
        if lacking:
            self.complain(where, f"it no longer takes {', '.join(lacking)}")
            return
        patch = Patch(owner, name, original)
        made = make(function, patch)
        functools.update_wrapper(made, function)
        if holder is not None:
            made = holder(made)
        patch.replacement = made
        setattr(owner, name, made)
        self._patches.append(patch)

    def original_of(self, held: Any) -> Any:
        """Return what stood where this stands now, if it is one of these hooks; else it itself."""
        return next((p.original for p in self._patches if p.replacement is held), held)

    def on_undo(self, undo: Callable[[], object]) -> None:
        """Have this called when the library's hooks are taken out."""
        self._undo.append(undo)

    def undo(self) -> None:
        """Take everything out again, last put in first."""
        for patch in reversed(self._patches):
            patch.undo()
        for undo in reversed(self._undo):
            try:
                undo()
            except Exception as error:
                self.complain("uninstrument", str(error))
        self._patches.clear()
        self._undo.clear()
        self.installed.clear()

    def complain(self, where: str, why: str) -> None:
        """Say that one hook stays out."""
        import logging

        logging.getLogger("lumina_stream").warning(
            "lumina-stream: %s %s is not instrumented: %s: %s",
            self.library, _version(self.library), where, why,
        )  # fmt: skip


_lock = threading.RLock()
_on: dict[str, Patches] = {}
_prefixes: dict[str, str] = {}
"""First name of a package to be watched for, to the libraries it may be of."""


def instrument(*names: str) -> list[str]:
    """Trace the calls of other libraries; without names, of all that are known. Return their names.

    Each is hooked when the program imports it, or now if it has. `instrument` again changes
    nothing. Raises `ConfigurationError` for a name that is not known; never for a library that is
    not installed, or not as expected.
    """
    wanted = [_known(name) for name in names] or list(LIBRARIES)
    with _lock:
        for name in wanted:
            if name not in _on:
                _on[name] = Patches(name)
        _watch()
        for name in wanted:
            for module_name in _hooks(name, only_imported=True):
                module = sys.modules.get(module_name)
                spec = getattr(module, "__spec__", None)
                if module is not None and not getattr(spec, "_initializing", False):
                    _install(name, module_name, module)
    return wanted


def uninstrument(*names: str) -> list[str]:
    """Take the hooks out again; without names, all. Return the names of those that were in."""
    wanted = [_known(name) for name in names] or list(LIBRARIES)
    with _lock:
        found = [name for name in wanted if name in _on]
        for name in found:
            _on.pop(name).undo()
        _watch()
    return found


def instrumented() -> list[str]:
    """Return the names of the libraries that are, or would be when imported, instrumented."""
    return list(_on)


# --- inside --------------------------------------------------------------------------------------


def _known(name: str) -> str:
    plain = str(name).strip().lower().replace("_", "-")
    plain = _OTHER_NAMES.get(plain, plain)
    if plain not in LIBRARIES:
        raise ConfigurationError(
            f"{name!r} cannot be instrumented; known are {', '.join(LIBRARIES)}"
        )
    return plain


def _hooks(name: str, *, only_imported: bool = False) -> dict[str, Install]:
    """Return a library's hooks by the module they belong to; ours is imported only for one in use."""
    if only_imported and not any(prefix in sys.modules for prefix in LIBRARIES[name]):
        return {}
    own = _OTHER_MODULES.get(name, name).replace("-", "_")
    try:
        module = importlib.import_module(f"lumina_stream.instrument.{own}")
        return module.hooks(name)
    except Exception as error:
        patches = _on.get(name)
        if patches is not None:
            patches.complain(own, repr(error))
        return {}


def _install(name: str, module_name: str, module: ModuleType) -> None:
    with _lock:
        patches = _on.get(name)
        if patches is None or module_name in patches.installed:
            return
        patches.installed.add(module_name)
        try:
            _hooks(name)[module_name](module, patches)
        except Exception as error:
            patches.complain(module_name, repr(error))


def _watch() -> None:
    """Be asked for imports exactly while something is to be hooked."""
    _prefixes.clear()
    for name in _on:
        for prefix in LIBRARIES[name]:
            _prefixes[prefix] = name
    _roots.clear()
    _roots.update(prefix.partition(".")[0] for prefix in _prefixes)
    if _prefixes and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    elif not _prefixes and _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


_roots: set[str] = set()


class _Finder(MetaPathFinder):
    """See each import first; leave it to the others, and hook the module once it has run."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in _roots:
            return None
        for prefix, name in tuple(_prefixes.items()):
            if fullname == prefix or fullname.startswith(f"{prefix}."):
                if fullname in _hooks(name):
                    return _spec_with_hook(name, fullname, path, target)
                return None
        return None


_finder = _Finder()


def _spec_with_hook(name: str, fullname: str, path: Any, target: Any) -> ModuleSpec | None:
    for finder in tuple(sys.meta_path):
        find = getattr(finder, "find_spec", None)
        if finder is _finder or find is None:
            continue
        spec = find(fullname, path, target)
        if spec is not None:
            _hook_loader(name, fullname, spec.loader)
            return spec
    return None


def _hook_loader(name: str, fullname: str, loader: Any) -> None:
    # The loader stays the one it is, since resources and tracebacks ask it for more than this.
    run = getattr(loader, "exec_module", None)
    if run is None:
        return

    def exec_module(module: ModuleType) -> None:
        run(module)
        if module.__name__ == fullname:
            _install(name, fullname, module)

    try:
        loader.exec_module = exec_module
    except AttributeError:
        _on[name].complain(fullname, f"its loader is a {type(loader).__name__}")


def _held(owner: Any, name: str) -> Any:
    """Return what a class or module itself holds under a name, as it holds it."""
    return owner.__dict__.get(name)


def _lacking(function: Any, needs: Iterable[str]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return []
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return []
    return [name for name in needs if name not in parameters]


_DISTRIBUTIONS = {
    "langchain": ("langchain-core",),
    "llama-index": ("llama-index-core", "llama-index-instrumentation"),
    "pydantic-ai": ("pydantic-ai-slim",),
    "opentelemetry": ("opentelemetry-sdk",),
}
"""Under which names a library is installed, where not under its own."""


def _version(library: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    for name in _DISTRIBUTIONS.get(library, (library,)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""

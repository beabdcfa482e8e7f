"""Hooks into other libraries. Each is imported by whoever uses it, never by the package itself.

The package itself can be called: `lumina.instrument("openai")` (see `registry`).
"""

import sys
from types import ModuleType


class Instrument(ModuleType):
    """Trace the calls of other libraries: `lumina.instrument()` all, `lumina.instrument("openai")` one."""

    def __call__(self, *names: str) -> list[str]:
        """Do what `registry.instrument` does."""
        from lumina_stream.instrument.registry import instrument

        return instrument(*names)


# `lumina_stream.instrument` is this package wherever a module of it was imported before; so that
# the function of that name works all the same, the package is what is called.
sys.modules[__name__].__class__ = Instrument
instrument = sys.modules[__name__]

"""Runs before the program, under `lumina-stream run --instrument`: its folder is first on PYTHONPATH.

It steps aside for the `sitecustomize` that would have run without it. Only the standard library and
`lumina_stream` may be needed here, and nothing may get into the program from here.
"""

import sys


def _begin() -> None:
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    # The program must not find this folder; what it starts shall, by the variable, which stays.
    sys.path[:] = [p for p in sys.path if not p or os.path.abspath(p) != here]
    try:
        from lumina_stream.instrument.bootstrap import instrument_from_environment
    except ImportError as error:
        sys.stderr.write(
            f"lumina-stream: cannot instrument this program: {error} (in {sys.executable})\n"
        )
    else:
        instrument_from_environment()


def _go_on() -> None:
    """Run the `sitecustomize` that would have been found, if there is one, as if it had been."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


_begin()
_go_on()

"""Instrument a program that does not ask for it, before it begins.

Called by `startup/sitecustomize.py`, and by `opentelemetry-instrument`, whose own `sitecustomize` is
found first and calls no other.
"""

from __future__ import annotations

import os

VARIABLE = "LUMINA_INSTRUMENT"
"""What to instrument: `all`, or names with commas between. Set by `lumina-stream run --instrument`."""


def instrument_from_environment() -> None:
    """Instrument what the variable names. Never raises: it runs in a program that did not ask."""
    try:
        said = os.environ.get(VARIABLE, "")
        names = [name.strip() for name in said.split(",") if name.strip()]
        if not names:
            return
        from lumina_stream.instrument.registry import instrument

        instrument(*(() if "all" in names else names))
    except Exception as error:
        import logging

        logging.getLogger("lumina_stream").warning(
            "lumina-stream: nothing is instrumented: %s", error
        )

"""What a person may ask a relay for: checked before it is asked, since a wrong filter selects nothing.

Each returns the value as the relay knows it, or raises `ConfigurationError`.
"""

from datetime import timedelta

from lumina_stream.model import limits
from lumina_stream.model.errors import ConfigurationError
from lumina_stream.model.ids import TRACE_ID_LENGTH, is_trace_id
from lumina_stream.model.node import STATES
from lumina_stream.viewing.text import parse_seconds


def trace_id_of(text: str) -> str:
    """Return a trace id in lower case."""
    found = text.strip().lower()
    if not is_trace_id(found):
        raise ConfigurationError(
            f"{text!r} is no trace id: {TRACE_ID_LENGTH} hex digits, as in the line of its root"
        )
    return found


def state_of(text: str) -> str:
    """Return the name of a state that a trace can be in."""
    if text not in STATES:
        raise ConfigurationError(f"{text!r} is no state; there are {', '.join(STATES)}")
    return text


def name_of(text: str) -> str:
    """Return a name, or a pattern of names, that something can have."""
    if not text.strip():
        raise ConfigurationError("it is empty, which nothing is called; leave it out for all")
    if len(text) > limits.NAME_LENGTH:
        raise ConfigurationError(f"it is longer than any name: {limits.NAME_LENGTH} characters")
    return text


def since_of(value: float | timedelta | str) -> float:
    """Return how many seconds ago to begin."""
    seconds = parse_seconds(value)
    if not seconds:
        raise ConfigurationError(
            f"{value!r} is no time ago; write for example 30s, 10m or 2h, or leave it out"
        )
    return seconds

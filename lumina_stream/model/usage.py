"""Tokens of a span: which attributes carry them.

The canonical names are OpenTelemetry's GenAI conventions. A total is the greater of what a span
says itself and what its children say together, because an agent's span often repeats the sum.
"""

from collections.abc import Mapping
from typing import Any

INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"


def token_count(attributes: Mapping[str, Any], key: str) -> int:
    """Return the non-negative integer under `key`, 0 where there is none."""
    value = attributes.get(key)
    if type(value) is int and value > 0:
        return value
    return 0

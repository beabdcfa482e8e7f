"""Head sampling by trace id, so that every process decides alike about one trace."""

from lumina_stream.model.errors import ConfigurationError

_RANGE = 1 << 56  # the random part of a W3C trace id: its last 14 digits
RANDOM_DIGITS = slice(18, 32)
"""Where a trace id has them."""


def threshold(sample_rate: float) -> bytes:
    """Return the bound below which a trace id's last 14 digits are sampled; rate is 0.0 to 1.0.

    Digits, as lower-case digits of equal number compare as they count.
    """
    if not isinstance(sample_rate, int | float) or not 0.0 <= sample_rate <= 1.0:
        raise ConfigurationError(
            f"sample_rate is {sample_rate!r}; it must be a number from 0.0 (nothing) to 1.0 (everything)"
        )
    bound = round(sample_rate * _RANGE)
    return b"g" if bound >= _RANGE else b"%014x" % bound  # no digit is as great as a g


def is_sampled(trace_id: str, bound: bytes) -> bool:
    """Tell whether a root with this trace id is recorded."""
    return trace_id[RANDOM_DIGITS].encode() < bound

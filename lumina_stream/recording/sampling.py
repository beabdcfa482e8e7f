"""Head sampling by trace id, so that every process decides alike about one trace."""

from lumina_stream.model.errors import ConfigurationError
from lumina_stream.recording.encoding import SAMPLED_BY

_RANGE = 1 << 56  # the random part of a W3C trace id: its last 14 digits


def threshold(sample_rate: float) -> int:
    """Return the bound below which a trace id's last 56 bits are sampled; rate is 0.0 to 1.0."""
    if not isinstance(sample_rate, int | float) or not 0.0 <= sample_rate <= 1.0:
        raise ConfigurationError(
            f"sample_rate is {sample_rate!r}; it must be a number from 0.0 (nothing) to 1.0 (everything)"
        )
    return round(sample_rate * _RANGE)


def is_sampled(trace_id: str, bound: int) -> bool:
    """Tell whether a root with this trace id is recorded."""
    return bound >= _RANGE or int(trace_id[18:], 16) < bound


def digits_of(bound: int) -> bytes:
    """Return a bound as `head_is_sampled` takes it."""
    return b"g" if bound >= _RANGE else b"%014x" % bound  # no digit is as great as a g


def head_is_sampled(head: bytes, digits: bytes) -> bool:
    """Do what `is_sampled` does, for the head of a root: digits of equal number compare as they count."""
    return head[SAMPLED_BY] < digits

"""Hypothesis profiles: `ci` by default, thousands of cases with `--hypothesis-profile=long`."""

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from support.recorded import Recorded

import lumina_stream as lumina

# A shell without job control starts what runs in its background with Ctrl-C ignored, and every
# process that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_COMMON = settings(
    deadline=None,
    database=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# The same cases each time: a change is never red for what another one brought in.
settings.register_profile("ci", _COMMON, max_examples=100, derandomize=True)
settings.register_profile("long", _COMMON, max_examples=5_000)
settings.load_profile("ci")


def pytest_collection_finish() -> None:
    """Leave what is loaded out of collections: many tests ask for one, and none is about that."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Trace the test into memory; afterwards tracing is off again."""
    with (
        lumina.init(service_name="test", export=False, enabled=True) as runtime,
        lumina.subscribe(keep_finished=1_000_000) as subscription,
    ):
        yield Recorded(runtime, subscription)
        assert runtime.recorder.faults == 0, runtime.recorder.last_fault

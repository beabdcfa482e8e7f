"""Hypothesis profiles: `ci` by default, thousands of cases with `--hypothesis-profile=long`."""

from hypothesis import HealthCheck, settings

_COMMON = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

settings.register_profile("ci", _COMMON, max_examples=250)
settings.register_profile("long", _COMMON, max_examples=5_000)
settings.load_profile("ci")

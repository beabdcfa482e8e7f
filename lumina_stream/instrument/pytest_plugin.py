"""A pytest fixture, `lumina_spans`: what the code under test traced, as trees. No relay, no network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lumina_stream.model.node import SpanNode
    from lumina_stream.model.tree import TraceTree


class LuminaSpans:
    """The spans of one test, as far as they have been recorded when asked."""

    def __init__(self, subscription: object) -> None:
        from lumina_stream.recording.subscription import Subscription

        assert isinstance(subscription, Subscription)
        self._subscription = subscription

    @property
    def traces(self) -> list[TraceTree]:
        """Return the traces, in the order in which they began."""
        self._subscription.poll()
        return list(self._subscription.traces.values())

    def all(self) -> list[SpanNode]:
        """Return all spans, parents before children."""
        return [node for tree in self.traces for _, node in tree.walk()]

    def named(self, name: str) -> list[SpanNode]:
        """Return the spans of one name."""
        return [node for node in self.all() if node.name == name]

    def one(self, name: str) -> SpanNode:
        """Return the only span of a name; fails the test if there is none or more than one."""
        found = self.named(name)
        if len(found) != 1:
            names = [node.name for node in self.all()]
            pytest.fail(f"{len(found)} spans are named {name!r}; recorded were {names}")
        return found[0]


@pytest.fixture
def lumina_spans() -> Iterator[LuminaSpans]:
    """Trace the test without a relay; gives the spans that were recorded, as trees."""
    from lumina_stream import runtime

    tracing = runtime.init(service_name="pytest", export=False, enabled=True)
    try:
        with runtime.subscribe(keep_finished=1_000_000) as subscription:
            yield LuminaSpans(subscription)
    finally:
        tracing.shutdown()

"""What a test recorded: facts and trees of a runtime that exports nowhere."""

from typing import Any

from lumina_stream.model.events import ErrorInfo, Event, TextStreamed
from lumina_stream.model.node import SpanNode
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.subscription import Subscription
from lumina_stream.runtime import Runtime

Shape = dict[str, tuple[str | None, str]]


class Recorded:
    """The spans and events so far. `shape()` is what most tests compare: who hangs below whom, and how it ended."""

    def __init__(self, runtime: Runtime, subscription: Subscription) -> None:
        self.runtime = runtime
        self.subscription = subscription
        self.events: list[Event] = []

    @property
    def recorder(self) -> Recorder:
        return self.runtime.recorder

    def poll(self) -> list[Event]:
        """Take in what came; return all events since the test began."""
        self.events += [fact.event for fact in self.subscription.poll().facts]
        return self.events

    def types(self) -> list[str]:
        """Return the types of all events, in order."""
        return [event.__struct_config__.tag for event in self.poll()]  # type: ignore[union-attr]

    def spans(self) -> list[SpanNode]:
        """Return all spans, parents before children."""
        self.poll()
        return [node for tree in self.subscription.traces.values() for _, node in tree.walk()]

    def lines(self) -> list[str]:
        """Return name, kind and state of every span, indented below its parent."""
        self.poll()
        return [
            f"{'  ' * depth}{node.name} {node.kind} {node.state}"
            for tree in self.subscription.traces.values()
            for depth, node in tree.walk()
        ]

    def streamed(self) -> str:
        """Return all text that was streamed, in the order in which it came."""
        return "".join(e.text for e in self.poll() if isinstance(e, TextStreamed))

    def shape(self) -> Shape:
        """Return name -> (name of the parent, state); fails if two spans share a name."""
        spans = self.spans()
        shape = {n.name: (n.parent.name if n.parent else n.parent_id, n.state) for n in spans}
        assert len(shape) == len(spans), f"names are not unique: {[n.name for n in spans]}"
        return shape

    def one(self, name: str) -> SpanNode:
        """Return the only span of a name."""
        (node,) = (node for node in self.spans() if node.name == name)
        return node

    def attributes(self, name: str) -> dict[str, Any]:
        """Return the attributes of the only span of a name."""
        return self.one(name).attributes

    def error(self, name: str) -> ErrorInfo:
        """Return the error of the only span of a name."""
        error = self.one(name).error
        assert error is not None
        return error

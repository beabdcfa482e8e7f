"""Every limit of lumina_stream, with its reason. What exceeds one is cut or counted, never silent."""

import msgspec

KIB = 1024
MIB = 1024 * KIB

# --- one event -------------------------------------------------------------------------------
STRING_LENGTH = 8 * KIB
"""Characters of one string attribute: a prompt's head stays readable, a dumped file does not."""
KEY_LENGTH = 256
"""Characters of an attribute key, span name or kind: names are labels, longer ones are data."""
NAME_LENGTH = 1 * KIB
"""Characters of a span or event name, so that one line of a viewer can show where it was cut."""
ATTRIBUTES = 128
"""Distinct attribute keys of one span or one event (OpenTelemetry's default as well)."""
LINKS = 128
"""Links of one span (OpenTelemetry's default as well)."""
DEPTH = 16
"""Nesting of lists and maps in one value: deeper data is a graph, and decoders recurse."""
ELEMENTS = 1_000
"""Elements visited in one value: walking a million-element list would stall the caller."""
STACK_LENGTH = 16 * KIB
"""Characters of a stack trace; its end is kept, where the raise is."""
MESSAGE_LENGTH = 4 * KIB
"""Characters of an error message."""
TEXT_PIECE = 32 * KIB
"""Bytes of one streamed piece: two of them still leave room in an event."""
TEXT_FLUSH_S = 0.05
"""Streamed text that is less than `TEXT_FLUSH_LENGTH` leaves this long after the last piece: twenty
pieces a second look like a flow, and a long answer stays within the pieces that a tree keeps."""
TEXT_FLUSH_LENGTH = 512
"""Characters of streamed text that leave at once."""
TEXT_HELD_BACK = 64
"""Characters at the end of a streamed text that stay until more comes, where patterns are hidden."""
TEXT_HELD_MOST = 16 * KIB
"""Characters held back at most: the longest word that a shipped pattern matches fits well."""
CONTENT_LENGTH = 1 * MIB
"""Characters of one call's messages that travel as pieces because an attribute cuts them."""
EVENT_BYTES = 64 * KIB
"""Encoded bytes of one event: four of the largest fit a frame."""

# --- the queue -------------------------------------------------------------------------------
QUEUE_BYTES = 64 * MIB
"""Encoded events waiting in the program, unacknowledged ones and overhead included."""
EVENT_OVERHEAD = 96
"""Bytes that one queued event costs beside its own: the bytes object, its deque slot, its copy's share."""
THRESHOLD_TEXT = 0.50
"""Share of the bound above which streamed text is refused: the bulkiest and least needed goes first."""
THRESHOLD_ATTRIBUTES = 0.80
"""Share above which attributes and events are refused, so that starts and ends still pass."""
THRESHOLD_STARTS = 0.95
"""Share above which starts are refused, so that the ends of admitted spans still pass."""
LOSS_TRACES = 64
"""Traces named one by one in a loss report; the rest is summed as `other`."""
SUBSCRIPTION_BYTES = 16 * MIB
"""Events waiting in one in-process subscription before it is told that it missed some."""

# --- frames and connections ------------------------------------------------------------------
FRAME_BYTES = 256 * KIB
"""Bytes of one WebSocket message: small enough that no peer waits long behind one."""
FRAME_EVENTS = 1_000
"""Events in one batch: bounds the time a relay spends on one frame."""
FRAME_DEPTH = 40
"""Nesting of a frame: a value's depth, the event, the batch, and room for newer fields."""
FRAME_CONTAINERS = 16_384
"""Maps and arrays in one frame, counted on the bytes before decoding: at 72 bytes an empty one, 1.2 MiB."""
IN_FLIGHT_BYTES = 4 * MIB
"""Bytes sent and not yet acknowledged before a producer pauses: enough for 100 ms at 40 MiB/s."""
COALESCE_S = 0.001
"""How long the exporter waits for more events before it frames what it has."""
COALESCE_BUSY_EVENTS = 50
"""Events found at once from which on it waits longer: a turn costs as much as the events of some spans."""
COALESCE_BUSY_S = 0.004
"""How long it waits then: at more than 12,000 events a second each is seen some 2 ms later."""
HEARTBEAT_S = 2.0
"""Between two signs of life of a producer; a relay may ask for another interval."""
LEASE_S = 10.0
"""After a connection drops without a `bye`, how long until a producer that is not on this machine is lost."""
MOST_SEQ = 2**53
"""Greatest seq of a producer: exact in JSON, and far below what a log's integers hold."""
SILENT_S = 3 * HEARTBEAT_S
"""After the last sign of life of a connected producer, how long until it is shown as silent."""
RECONNECT_FIRST_S = 0.05
"""First wait before reconnecting; doubled each time, with full jitter."""
RECONNECT_MOST_S = 5.0
"""Longest wait before reconnecting: a relay that comes back is found within it."""
CONNECT_TIMEOUT_S = 5.0
"""Opening a connection, handshake included."""
HALF_OPEN_S = 10.0
"""Silence on a connection after which the peer is taken for gone and the connection is dropped."""

# --- exit ------------------------------------------------------------------------------------
EXIT_S = 2.0
"""Most that a program's exit waits, and only while acknowledgements arrive."""
EXIT_UNREACHED_S = 0.1
"""Most that a program's exit waits when no relay ever answered."""
EXIT_SPOOLED_S = 0.5
"""Most that the exit of a program with a spool waits, for the `bye`, where a relay answers and little is
left: nothing is lost without."""

# --- trees -----------------------------------------------------------------------------------
TREE_SPANS = 1_000_000
"""Spans of one tree; later ones are counted as truncated."""
SPAN_EVENTS = 10_000
"""Events kept of one span."""
SPAN_TEXT_PIECES = 20_000
"""Streamed pieces kept of one span."""
TREE_ATTRIBUTES = 1_024
"""Attributes kept of one span in a tree: producers of other makes may send more than ours."""
TREE_LABELS = 64
"""Sessions, and users, that one trace may be found by."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a program may record; every field has the module's constant as its default.

    Lengths are characters, `queue_bytes` and `event_bytes` are bytes.
    """

    string_length: int = STRING_LENGTH
    attributes: int = ATTRIBUTES
    links: int = LINKS
    depth: int = DEPTH
    elements: int = ELEMENTS
    stack_length: int = STACK_LENGTH
    event_bytes: int = EVENT_BYTES
    queue_bytes: int = QUEUE_BYTES
    subscription_bytes: int = SUBSCRIPTION_BYTES


DEFAULT_LIMITS = Limits()

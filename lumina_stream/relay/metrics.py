"""The relay's figures in Prometheus' text format."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay


def metrics_text(relay: "Relay") -> str:
    """Return all figures; names end in their unit, counters in `_total`."""
    counters, log, hub = relay.counters, relay.store.statistics(), relay.hub
    figures: list[tuple[str, str, str, float]] = [
        ("up_seconds", "gauge", "Time since the start.", time.monotonic() - relay.started),
        ("degraded", "gauge", "1 while the log refuses events.", int(relay.degraded is not None)),
        ("events_total", "counter", "Events accepted from producers.", counters.events),
        ("frames_total", "counter", "Batches accepted from producers.", counters.frames),
        ("bytes_total", "counter", "Bytes of accepted events.", counters.bytes),
        ("events_refused_total", "counter", "Events stored, not shown.", counters.refused_events),
        ("traces_deleted_total", "counter", "Traces deleted.", counters.deleted_traces),
        (
            "events_deleted_total",
            "counter",
            "Events that came for a deleted trace, not kept.",
            counters.deleted_events,
        ),
        ("log_unerased", "gauge", "Deleted traces still in the files.", log.unerased),
        ("events_lost_total", "counter", "Losses recorded by the relay.", counters.lost_reported),
        ("producers_met_total", "counter", "New producers.", counters.producers_met),
        ("producers_lost_total", "counter", "Producers lost.", counters.producers_lost),
        (
            "producers_connected",
            "gauge",
            "Producers connected.",
            relay.attendance.liveness.connections,
        ),
        (
            "producers_silent",
            "gauge",
            "Connected, silent.",
            len(relay.attendance.liveness.silent()),
        ),
        ("consumers", "gauge", "Subscriptions.", hub.subscriptions),
        ("channels", "gauge", "Distinct subscriptions.", hub.channels),
        ("ring_bytes", "gauge", "Bytes held for consumers.", hub.ring_bytes),
        ("pending_bytes", "gauge", "Bytes on the way to disk.", relay.committer.pending_bytes),
        ("projection_lag_events", "gauge", "Stored, not yet shown.", relay.lag),
        (
            "projection_lag_seconds",
            "gauge",
            "How long ago the oldest of these arrived.",
            relay.lag_s,
        ),
        (
            "unstored_events_total",
            "counter",
            "Shown, not stored at the time.",
            relay.unstored.events,
        ),
        ("throttles_total", "counter", "Times a client was told to pause.", counters.throttles),
        ("sockets", "gauge", "WebSockets open.", relay.clients.quota.open),
        (
            "sockets_refused_total",
            "counter",
            "WebSockets above what a client may have.",
            relay.clients.refused,
        ),
        (
            "connections_refused_total",
            "counter",
            "Connections that no descriptor was left for.",
            relay.descriptors.refused,
        ),
        ("log_refusals_total", "counter", "Commits that the log refused.", counters.log_refusals),
        ("otlp_requests_total", "counter", "OTLP trace requests taken.", counters.otlp_requests),
        ("otlp_spans_total", "counter", "Spans taken by OTLP.", counters.otlp_spans),
        (
            "otlp_spans_refused_total",
            "counter",
            "Spans refused in OTLP requests.",
            counters.otlp_spans_refused,
        ),
        (
            "otlp_requests_refused_total",
            "counter",
            "OTLP requests refused.",
            counters.otlp_requests_refused,
        ),
        (
            "otlp_ignored_total",
            "counter",
            "OTLP requests of metrics and logs, not kept.",
            counters.otlp_ignored,
        ),
        ("forwarded_spans_total", "counter", "Spans forwarded.", counters.forwarded_spans),
        ("forward_failures_total", "counter", "Failed forwards.", counters.forward_failures),
        (
            "forward_dropped_spans_total",
            "counter",
            "Spans that the other side will never take.",
            counters.forward_dropped_spans,
        ),
        ("log_offset", "gauge", "Offset of the last event.", relay.store.next_offset - 1),
        ("log_events", "gauge", "Events held by the log.", log.events),
        ("log_segments", "gauge", "Segments of the log.", log.segments),
        ("log_disk_bytes", "gauge", "Bytes of the log on disk.", log.disk_bytes),
        ("log_commits_total", "counter", "Commits.", log.commits),
        ("log_commit_seconds_total", "counter", "Time in commits.", log.commit_total_s),
        ("log_quarantined", "gauge", "Files set aside.", log.quarantined),
        ("log_damaged_events_total", "counter", "Events not readable.", log.damaged_events),
    ]
    lines: list[str] = []
    for name, kind, text, value in figures:
        full = f"lumina_{name}"
        lines += (f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {value:.10g}")
    return "\n".join(lines) + "\n"

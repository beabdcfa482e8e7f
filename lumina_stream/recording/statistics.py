"""What became of what was recorded."""

import msgspec


class Statistics(msgspec.Struct, frozen=True):
    """What became of what was recorded. Counts are events since `init`.

    `recorded` were admitted to the queue, `acknowledged` of these are stored by a relay, `lost` were
    refused and reported. `faults` counts errors of our own, `late_calls` calls on ended spans.
    `queued` wait to be sent, `queued_bytes` are held until they are stored. With a spool, `spool` is
    its file, `spool_bytes` the size of it, and `spool_problem` says why there is none; `redelivered`
    counts events of earlier processes that this one brought to the relay, from `redelivered_spools`
    files, `redelivery_error` what went wrong with the last of them.
    """

    enabled: bool = False
    producer_id: str = ""
    service_name: str = ""
    endpoint: str = ""
    recorded: int = 0
    acknowledged: int = 0
    queued: int = 0
    queued_bytes: int = 0
    lost: int = 0
    lost_by_type: dict[str, int] = {}
    unsampled: int = 0
    late_calls: int = 0
    faults: int = 0
    last_fault: str = ""
    connected: bool = False
    connections: int = 0
    last_error: str = ""
    spool: str = ""
    spool_bytes: int = 0
    spool_problem: str = ""
    redelivered: int = 0
    redelivered_spools: int = 0
    redelivery_error: str = ""

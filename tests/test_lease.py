"""Who is alive, by what the shell saw and when."""

from lumina_stream.protocol.lease import Leases


def test_a_dropped_connection_runs_out_of_its_lease() -> None:
    """Once, at its end and not before."""
    leases = Leases(lease_s=10)
    leases.connected("p", 0, watched=False)
    assert leases.expired(1_000) == []
    assert not leases.disconnected("p", 1_000)
    assert leases.expired(1_009.9) == []
    assert leases.expired(1_010) == ["p"]
    assert leases.expired(1_011) == []


def test_a_producer_that_comes_back_returns_only_if_it_was_lost() -> None:
    """`producer_returned` answers `producer_lost`."""
    leases = Leases(lease_s=10)
    assert not leases.connected("p", 0, watched=False)
    leases.disconnected("p", 1)
    assert not leases.connected("p", 5, watched=False)
    leases.disconnected("p", 6)
    assert leases.expired(16) == ["p"]
    assert leases.connected("p", 20, watched=False)
    assert not leases.connected("p", 21, watched=False)


def test_a_watched_process_is_lost_by_its_death_alone() -> None:
    """Its lease never runs out."""
    leases = Leases(lease_s=10)
    leases.connected("p", 0, watched=True)
    leases.disconnected("p", 1)
    assert leases.expired(10_000) == []
    assert leases.died("p") and not leases.died("p")


def test_a_death_waits_for_the_end_of_the_connection() -> None:
    """What the process sent may still be on its way."""
    leases = Leases()
    leases.connected("p", 0, watched=True)
    assert not leases.died("p")
    assert leases.disconnected("p", 1) and not leases.disconnected("p", 2)


def test_a_silent_producer_is_not_lost() -> None:
    """It is shown as silent until it is heard again."""
    leases = Leases(lease_s=10, silent_s=6)
    leases.connected("p", 0, watched=False)
    assert leases.silent(5.9) == [] and leases.silent(6) == ["p"]
    leases.heard("p", 7)
    assert leases.silent(12) == [] and leases.expired(1_000) == []
    leases.disconnected("p", 13)
    assert leases.silent(100) == []


def test_a_bye_ends_the_watch() -> None:
    """Nothing is left to be lost."""
    leases = Leases(lease_s=1)
    leases.connected("p", 0, watched=True)
    leases.ended("p")
    assert not leases.disconnected("p", 1) and not leases.died("p") and leases.expired(99) == []
    leases.ended("p")
    leases.heard("p", 5)


def test_leases_start_anew_when_the_relay_did_not_run() -> None:
    """Nobody is blamed for the relay's own absence."""
    leases = Leases(lease_s=10, silent_s=6)
    leases.connected("p", 0, watched=False)
    leases.connected("q", 0, watched=False)
    leases.disconnected("q", 0)
    leases.paused(100)
    assert leases.silent(105) == [] and leases.expired(109) == []
    assert leases.silent(106) == ["p"] and leases.expired(110) == ["q"]


def test_a_restarted_relay_takes_its_producers_over() -> None:
    """With a new lease; one that was lost before is not lost again, and returns."""
    leases = Leases(lease_s=10)
    leases.restored("p", 100, watched=False)
    leases.restored("q", 100, watched=False, lost=True)
    leases.restored("w", 100, watched=True)
    assert leases.expired(109) == [] and leases.expired(110) == ["p"]
    assert leases.connected("q", 120, watched=False)
    assert leases.died("w")

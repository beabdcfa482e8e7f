"""Who is there: producers come, speak, fall silent, end, are lost and return.

Decided by the machines of `protocol`; here what they decide is carried out, and said in the log.
"""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError
from lumina_stream.model.events import (
    EventsLost,
    ProducerEnded,
    ProducerEvent,
    ProducerLost,
    ProducerReturned,
    ProducerStarted,
)
from lumina_stream.protocol import frames
from lumina_stream.protocol.intake import Alive, Ended, Identity, Intake, Missing, ProducerPeer
from lumina_stream.relay import admission, spools
from lumina_stream.relay.liveness import Liveness
from lumina_stream.relay.log import Log, LogError
from lumina_stream.relay.streaming import ProducerConnection

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

_decode_hello = msgspec.msgpack.Decoder(frames.Hello).decode


class _Heard(msgspec.Struct):
    """What was last heard of a producer, for the day it is lost."""

    last_seq: int
    wall_ns: int = 0
    admitted: int = 0
    skew_ns: int = 0


class Attendance:
    """The producers of one relay."""

    def __init__(self, relay: "Relay", lease_s: float) -> None:
        self._relay = relay
        self._hellos: dict[str, frames.Hello] = _hellos(relay.store)
        self.intake = Intake(
            relay.store.producers(),
            {p: _identity(hello) for p, hello in self._hellos.items()},
            relay_id=relay.witness.producer_id,
        )
        self.liveness = Liveness(self._lost, self._returned, self._grace, lease_s=lease_s)
        self._connections: dict[str, ProducerConnection] = {}
        self._ending: dict[str, tuple[ProducerConnection, Ended]] = {}
        self._fates: dict[str, str] = {}
        self._heard: dict[str, _Heard] = {}
        self._said_ns = 0
        self._early: set[str] = set()
        self._waiting: list[Callable[[], None]] | None = []
        """What is to be said of known producers once it is read what was said before; None from then on."""

    def met(self, connection: ProducerConnection, hello: frames.Hello) -> None:
        """Take in a producer's hello that the intake accepted."""
        producer_id = hello.producer_id
        older = self._connections.get(producer_id)
        if older is not None and older is not connection:
            older.close(4002, "superseded")
        self._connections[producer_id] = connection
        if self._waiting is not None:
            self._early.add(producer_id)
        now = self._relay.clock.now()
        heard = self._heard_of(producer_id)
        if spools.is_left(hello):
            spools.met(self, hello)
            heard.wall_ns = hello.wall_ns
            return
        heard.wall_ns = now
        heard.skew_ns = hello.wall_ns - now if hello.wall_ns else 0
        self.introduce(hello)
        self.liveness.connected(hello)

    def introduce(self, hello: frames.Hello) -> None:
        """Say who a producer is, if that is new, or that it is back."""
        producer_id = hello.producer_id
        # What changes with every connection is not worth a record.
        lasting = spools.lasting(hello)
        if self._hellos.get(producer_id) != lasting:
            self._hellos[producer_id] = lasting
            self._relay.counters.producers_met += 1
            self._fates[producer_id] = "alive"
            started = ProducerStarted(
                self._stamp_ns(producer_id),
                producer_id,
                hello.service,
                hello.resource,
                hello.pid,
                hello.host,
            )
            self._say(started, remember=(producer_id, codec.encode(lasting)))
        elif not spools.is_left(hello):
            self._returned(producer_id)

    def hello_of(self, producer_id: str) -> frames.Hello | None:
        """Return what a producer said of itself, None if nothing is known."""
        return self._hellos.get(producer_id)

    def alive(self, alive: Alive) -> None:
        """Take in a heartbeat."""
        heard = self._heard_of(alive.producer_id)
        heard.admitted = max(heard.admitted, alive.admitted)
        if alive.wall_ns:
            heard.skew_ns = alive.wall_ns - self._relay.clock.now()

    def heard(self, connection: ProducerConnection) -> None:
        """Note that a producer sent something."""
        hello = connection.peer.hello
        if hello is not None and not connection.peer.superseded and not spools.is_left(hello):
            self._heard_of(hello.producer_id).wall_ns = self._relay.clock.now()
            self.liveness.heard(hello.producer_id)

    def missing(self, missing: Missing) -> None:
        """Record events that nobody has any more."""
        self._relay.counters.lost_reported += missing.count
        now = self._stamp_ns(missing.producer_id)
        self._relay.log.warning(
            "events are gone from producer and log",
            producer=missing.producer_id,
            count=missing.count,
        )
        lost = EventsLost(now, "log_rollback", missing.count, subject_id=missing.producer_id)
        if not self._waits(lambda: self._say(lost)):
            self._say(lost)

    def ending(self, connection: ProducerConnection, ended: Ended) -> None:
        """Take in a `bye`: the producer has ended once its last event is stored."""
        self._ending[ended.producer_id] = (connection, ended)
        self._end(ended.producer_id)

    def disconnected(self, connection: ProducerConnection) -> None:
        """Note the end of a producer's connection."""
        hello = connection.peer.hello
        if hello is None or self._connections.get(hello.producer_id) is not connection:
            return
        del self._connections[hello.producer_id]
        if hello.producer_id not in self._ending:
            if spools.is_left(hello):
                self._lost(hello.producer_id)
                self._heard.pop(hello.producer_id, None)
            else:
                self.liveness.disconnected(hello.producer_id)

    def _end(self, producer_id: str) -> None:
        if producer_id not in self._ending or self._waits(lambda: self._end(producer_id)):
            return
        connection, ended = self._ending[producer_id]
        if self.intake.last_seq(producer_id) < ended.last_seq:
            return
        del self._ending[producer_id]
        self.liveness.ended(producer_id)
        if ended.lost:
            self._lost(producer_id)
        else:
            self._fates[producer_id] = "ended"
            self._say(ProducerEnded(self._stamp_ns(producer_id), producer_id, ended.last_seq))
        self._heard.pop(producer_id, None)
        connection.close(1000, "bye")

    def silent(self, producer_id: str) -> None:
        """Take a producer for lost that nothing was heard of for too long."""
        self._lost(producer_id)

    def _lost(self, producer_id: str) -> None:
        if self._waits(lambda: self._lost(producer_id)) or self._fate(producer_id) != "alive":
            return
        self._fates[producer_id] = "lost"
        self._relay.counters.producers_lost += 1
        heard = self._heard.pop(producer_id, None) or _Heard(self.intake.last_seq(producer_id))
        now = self._stamp_ns(producer_id)
        seen_ns = (heard.wall_ns or now) + heard.skew_ns
        said: list[ProducerEvent] = [ProducerLost(now, producer_id, heard.last_seq, seen_ns)]
        unsent = heard.admitted - heard.last_seq
        if unsent > 0 and not spools.is_kept(self._hellos.get(producer_id)):
            self._relay.counters.lost_reported += unsent
            said.append(
                EventsLost(now, "producer_lost", unsent, exact=False, subject_id=producer_id)
            )
        self._say(*said)

    def _returned(self, producer_id: str) -> None:
        if self._waits(lambda: self._returned(producer_id)):
            return
        if self._fate(producer_id) != "alive":
            self._fates[producer_id] = "alive"
            self._say(ProducerReturned(self._stamp_ns(producer_id), producer_id))

    def _grace(self, producer_id: str) -> None:
        connection = self._connections.get(producer_id)
        if connection is not None:
            connection.abort()

    def noted(self, producer_id: str, last_seq: int) -> None:
        """Note how far a producer's accepted events go."""
        self._heard_of(producer_id).last_seq = last_seq

    def committed(self, producer_id: str, upto: int) -> None:
        """Acknowledge what is stored, and take a producer for ended that waited for just that."""
        told = self.intake.committed(producer_id, upto)
        if told is not None:
            self._tell(told[0], told[1])
        if producer_id in self._ending:
            self._end(producer_id)

    def refused(self, producer_id: str, pause_s: float) -> None:
        """Say that nothing was stored: pause, and send it again."""
        told = self.intake.failed(producer_id)
        if told is not None:
            self._tell(told[0], frames.Throttle(pause_s))
            self._tell(told[0], told[1])

    def rejected(self, producer_id: str, error: LogError) -> None:
        """End the connection of a producer whose frame the log does not take."""
        # The log knows better than we did what is stored: go on from there, with what was sent since.
        self.intake.committed(producer_id, self._relay.store.last_seq(producer_id))
        self.intake.failed(producer_id)
        connection = self._connections.get(producer_id)
        if connection is not None:
            connection.close(1011, "rejected", frames.Error(str(error), "rejected"))

    def _heard_of(self, producer_id: str) -> _Heard:
        heard = self._heard.get(producer_id)
        if heard is None:
            heard = self._heard[producer_id] = _Heard(self.intake.last_seq(producer_id))
        return heard

    def _fate(self, producer_id: str) -> str:
        return self._fates.get(producer_id) or self._relay.projections.forest.producers.state(
            producer_id
        )

    def _say(self, *events: ProducerEvent, remember: tuple[str, bytes] | None = None) -> None:
        self._relay.witness.say(self._relay.clock.now(), *events, remember=remember)

    def _stamp_ns(self, producer_id: str) -> int:
        """Return now, or just after what was last said of a producer: a clock set back hides nothing."""
        known = self._relay.projections.forest.producers.get(producer_id)
        last = 0 if known is None else known.stamp[0]
        self._said_ns = max(self._relay.clock.now(), self._said_ns + 1, last + 1)
        return self._said_ns

    def _waits(self, do: Callable[[], None]) -> bool:
        """Put off what depends on what was said of producers before, until that is known."""
        if self._waiting is None:
            return False
        self._waiting.append(do)
        return True

    def restore(self) -> None:
        """Take over the producers that were alive when the relay last ran; say what waited for that."""
        producers = self._relay.projections.forest.producers
        known = {
            *self._relay.projections.open_producers(),
            *(p.producer_id for p in producers.all()),
        }
        for producer_id in known:
            if producers.state(producer_id) != "alive" or admission.is_relay(producer_id):
                continue
            if producer_id in self._early:
                continue  # it was here since
            if admission.is_reserved(producer_id):
                self._relay.guests.heard(producer_id)
                continue
            hello = self._hellos.get(producer_id)
            if hello is None:
                self.liveness.restored_unknown(producer_id)
            else:
                self.liveness.restored(hello)
        waiting, self._waiting = self._waiting or [], None
        for do in waiting:
            do()

    def _tell(self, peer: ProducerPeer, frame: frames.RelayToProducer) -> None:
        hello = peer.hello
        connection = None if hello is None else self._connections.get(hello.producer_id)
        if connection is not None and connection.peer is peer:
            connection.reply(frame)


def _identity(hello: frames.Hello) -> Identity:
    return Identity(hello.nonce, hello.pid, hello.process_start, hello.boot_id, hello.pid_namespace)


def _hellos(store: Log) -> dict[str, frames.Hello]:
    found: dict[str, frames.Hello] = {}
    for producer_id, data in store.producer_data().items():
        with contextlib.suppress(msgspec.DecodeError, DecodeError):
            found[producer_id] = _decode_hello(data)
    return found

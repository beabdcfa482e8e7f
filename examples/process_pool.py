"""A process pool: `lumina.propagate` can be pickled and carries the trace into the workers.

It brings this program's settings along, so that the workers need no `init` of their own. Each is a
producer to itself; the viewer puts their spans into the one tree. Watch it:

    lumina-stream serve                 # terminal 1
    lumina-stream tail                  # terminal 2
    python examples/process_pool.py     # terminal 3
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import lumina_stream as lumina

LIMITS = [2_000_000, 3_000_000, 4_000_000, 5_000_000, 6_000_000, 7_000_000]


@lumina.trace("count_primes", kind="task")
def count_primes(limit: int) -> int:
    span = lumina.current_span()
    span.set_attributes({"limit": limit, "process": os.getpid()})
    sieve = bytearray([1]) * (limit + 1)
    sieve[0:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    span.set_attribute("primes", sum(sieve))
    return sum(sieve)


def main() -> None:
    # "spawn" is the method that works everywhere; nothing is inherited by accident.
    context = multiprocessing.get_context("spawn")
    with (
        lumina.trace("count_all", kind="task", jobs=len(LIMITS)),
        ProcessPoolExecutor(2, mp_context=context) as executor,
    ):
        counts = list(executor.map(lumina.propagate(count_primes), LIMITS))
    for limit, count in zip(LIMITS, counts, strict=True):
        print(f"{count:7} primes up to {limit}")


# Without the guard, each worker would run the script again when it imports it.
if __name__ == "__main__":
    lumina.init(service_name="process-pool")
    main()

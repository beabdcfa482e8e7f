"""A batch of 1,000 documents: a trace for each, linked to the batch that started it.

One trace with a thousand children is hard to read. A thousand small traces can be listed,
filtered and opened one by one, and the link leads back to the batch. Watch it:

    lumina-stream serve                 # terminal 1
    lumina-stream tail                  # terminal 2
    python examples/linked_batch.py     # terminal 3
"""

import anyio

import lumina_stream as lumina

DOCUMENTS = 1_000
WORKERS = 20


async def process(number: int, batch: lumina.Span) -> None:
    async with lumina.trace(
        "document", kind="task", root=True, links=[batch], attributes={"document.number": number}
    ):
        with lumina.trace("parse", kind="task") as parse:
            parse.set_attribute("words", 100 + number % 900)
        async with lumina.trace("store", kind="db"):
            await anyio.sleep(0.01)


async def work(numbers: range, batch: lumina.Span) -> None:
    for number in numbers:
        await process(number, batch)


async def main() -> None:
    async with (
        lumina.trace("batch", kind="task", documents=DOCUMENTS) as batch,
        anyio.create_task_group() as group,
    ):
        for worker in range(WORKERS):
            group.start_soon(work, range(worker, DOCUMENTS, WORKERS), batch)
    print(f"{DOCUMENTS} traces are linked to the batch {batch.trace_id}")


if __name__ == "__main__":
    lumina.init(service_name="linked-batch")
    anyio.run(main)

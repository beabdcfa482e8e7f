"""Watch your own spans inside the program: no relay, no network, `lumina.subscribe()` alone.

`export=False` records for subscribers in this process only: for notebooks, tests and progress
displays. No second terminal is needed:

    python examples/in_process.py
"""

import anyio

import lumina_stream as lumina


async def brew() -> None:
    async with lumina.trace("tea", kind="task"):
        async with lumina.trace("boil_water", kind="tool") as boil:
            for celsius in (40, 70, 100):
                await anyio.sleep(0.2)
                boil.set_attribute("celsius", celsius)
        async with lumina.trace("steep", kind="task", minutes=3):
            await anyio.sleep(0.3)


def draw(live: lumina.Subscription) -> None:
    for tree in live.traces.values():
        for depth, span in tree.walk():
            print(f"{'  ' * depth}{span.name}: {span.state} {dict(span.attributes)}")
    print()


async def main() -> None:
    async with lumina.subscribe() as live, anyio.create_task_group() as group:
        group.start_soon(brew)
        async for _ in live:
            draw(live)
            if any(tree.finished for tree in live.traces.values()):
                break


if __name__ == "__main__":
    lumina.init(service_name="in-process", export=False)
    anyio.run(main)

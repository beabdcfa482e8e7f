"""An agent: plan, act, observe, until it can answer. One tool call fails and is recovered from.

The plan is made by four lines of rules instead of a model, so that every run is alike; the
spans are those of a real agent. Watch it:

    lumina-stream serve               # terminal 1
    lumina-stream tail                # terminal 2
    python examples/agent_loop.py     # terminal 3
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

import lumina_stream as lumina

MAX_STEPS = 8
ORDERS = {"004711": {"item": "kettle", "price": 39.0}, "004712": {"item": "lamp", "price": 24.5}}


@dataclass(frozen=True)
class Action:
    tool: str
    argument: str


async def find_order(order: str) -> str:
    await anyio.sleep(0.2)
    if len(order) != 6:
        raise ValueError(f"unknown order {order}: order numbers have six digits")
    return str(ORDERS[order]["price"])


async def add_tax(price: str) -> str:
    await anyio.sleep(0.2)
    return f"{float(price) * 1.2:.2f}"


TOOLS: dict[str, Callable[[str], Awaitable[str]]] = {"find_order": find_order, "add_tax": add_tax}


def plan(order: str, observations: list[str]) -> Action | None:
    """Choose the next action from what was observed; None when the answer is known."""
    match observations:
        case []:
            return Action("find_order", order)
        case [*_, last] if "six digits" in last:
            return Action("find_order", order.zfill(6))
        case [*_, last] if last.startswith("find_order:"):
            return Action("add_tax", last.removeprefix("find_order:"))
        case _:
            return None


async def act(action: Action) -> str:
    """Run the tool; its error is an observation that the next plan can use."""
    try:
        async with lumina.trace(action.tool, kind="tool", argument=action.argument) as span:
            result = await TOOLS[action.tool](action.argument)
            span.set_attribute("result", result)
            return f"{action.tool}:{result}"
    except ValueError as error:
        return f"error:{error}"


async def run(order: str) -> str:
    observations: list[str] = []
    async with lumina.trace("price_agent", kind="agent", order=order) as agent:
        for number in range(1, MAX_STEPS + 1):
            async with lumina.trace("step", kind="task", number=number) as step:
                with lumina.trace("plan", kind="task"):
                    action = plan(order, observations)
                if action is None:
                    agent.set_attribute("agent.stop_reason", "answered")
                    return observations[-1].rpartition(":")[2]
                observations.append(await act(action))
                step.add_event("observed", text=observations[-1])
        agent.set_attribute("agent.stop_reason", "too many steps")
        return "no answer"


if __name__ == "__main__":
    lumina.init(service_name="agent-loop")
    print("With tax:", anyio.run(run, "4711"))

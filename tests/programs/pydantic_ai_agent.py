"""An agent of pydantic-ai's, with a tool."""

import os

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")
agent = Agent(OpenAIChatModel("gpt-4o-mini", provider=provider), name="weather")


@agent.tool_plain
def temperature(city: str) -> str:
    """Return the temperature."""
    return "21"


print(agent.run_sync("How warm is it in Bonn? I can wait.").output)

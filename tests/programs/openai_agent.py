"""An agent of OpenAI's library for them, with a tool."""

import os

import agents
import openai


@agents.function_tool
def temperature(city: str) -> str:
    """Return the temperature."""
    return "21"


client = openai.AsyncOpenAI(base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")
model = agents.OpenAIResponsesModel(model="gpt-4o-mini", openai_client=client)
agent = agents.Agent(name="weather", model=model, tools=[temperature])
print(agents.Runner.run_sync(agent, "How warm is it in Bonn? I can wait.").final_output)

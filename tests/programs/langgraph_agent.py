"""An agent of langgraph's, with a tool."""

import os

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent


@tool
def temperature(city: str) -> str:
    """Return the temperature."""
    return "21"


model = ChatOpenAI(model="gpt-4o-mini", base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")
agent = create_react_agent(model, [temperature])
said = agent.invoke({"messages": [("user", "How warm is it in Bonn? I can wait.")]})
print(said["messages"][-1].content)

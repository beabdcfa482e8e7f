"""Let Claude use a tool until it has an answer."""

import os

import anthropic

client = anthropic.Anthropic(base_url=os.environ["MODEL_URL"], api_key="k")
city = {"type": "object", "properties": {"city": {"type": "string"}}}
tools = [{"name": "temperature", "description": "The temperature in a city", "input_schema": city}]
messages = [{"role": "user", "content": "How warm is it in Bonn? I can wait."}]
while True:
    answer = client.messages.create(
        model="claude-sonnet-4-5", max_tokens=99, messages=messages, tools=tools
    )
    if answer.stop_reason != "tool_use":
        break
    messages.append({"role": "assistant", "content": [b.model_dump() for b in answer.content]})
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "21"}
        for block in answer.content
        if block.type == "tool_use"
    ]
    messages.append({"role": "user", "content": results})
print(answer.content[0].text)

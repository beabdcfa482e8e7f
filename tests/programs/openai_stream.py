"""Stream an answer of OpenAI's."""

import os

import openai

client = openai.OpenAI(base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")
pieces = client.chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": "How warm is it in Bonn?"}],
    stream=True,
    stream_options={"include_usage": True},
)
print("".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices))

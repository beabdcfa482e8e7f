"""A service that asks a model, and serves until it is stopped; with an argument, it sets OpenTelemetry up itself."""

import os
import socket
import sys

import openai
import uvicorn
from fastapi import FastAPI

app = FastAPI()
client = openai.OpenAI(base_url=os.environ["MODEL_URL"] + "/v1", api_key="k")


@app.get("/ask")
def ask() -> str | None:
    """Ask the model."""
    answer = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": "How warm is it in Bonn? I can wait."}],
    )
    return answer.choices[0].message.content


if len(sys.argv) > 1:
    from opentelemetry import trace
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    FastAPIInstrumentor.instrument_app(app)

with socket.create_server(("127.0.0.1", 0)) as listening:
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])

"""Calls of the real client libraries against a loopback server, one function a library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


def openai_chat(url: str, body: Mapping[str, Any]) -> Any:
    """Return a completion, or the list of a stream's chunks."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(**body)
        return list(answer) if body.get("stream") else answer


def openai_responses(url: str, body: Mapping[str, Any]) -> Any:
    """Return a response, or the list of a stream's events."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
        answer = client.responses.create(**body)
        return list(answer) if body.get("stream") else answer


def openai_embeddings(url: str, body: Mapping[str, Any]) -> Any:
    """Return an embeddings answer."""
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
        return client.embeddings.create(**body)


def anthropic(url: str, body: Mapping[str, Any]) -> Any:
    """Return a message, or the list of a stream's events."""
    anthropic = pytest.importorskip("anthropic")
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as client:
        answer = client.messages.create(**body)
        return list(answer) if body.get("stream") else answer


def google(url: str, body: Mapping[str, Any], *, stream: bool = False) -> Any:
    """Return a generate_content answer, or the list of a stream's chunks."""
    genai = pytest.importorskip("google.genai")
    options = genai.types.HttpOptions(base_url=url)
    client = genai.Client(api_key="none", http_options=options)
    try:
        if stream:
            return list(client.models.generate_content_stream(model="gemini-x", **body))
        return client.models.generate_content(model="gemini-x", **body)
    finally:
        client.close()


def mistral(url: str, body: Mapping[str, Any]) -> Any:
    """Return a completion, or the list of a stream's events."""
    library = pytest.importorskip("mistralai.client")
    given = {key: value for key, value in body.items() if key != "stream"}
    with library.Mistral(server_url=url, api_key="none") as client:
        if body.get("stream"):
            with client.chat.stream(**given) as events:
                return list(events)
        return client.chat.complete(**given)


def cohere(url: str, body: Mapping[str, Any]) -> Any:
    """Return a chat answer, or the list of a stream's events."""
    library = pytest.importorskip("cohere")
    httpx = pytest.importorskip("httpx")
    given = {key: value for key, value in body.items() if key != "stream"}
    with httpx.Client() as connection:
        client = library.ClientV2(api_key="none", base_url=url, httpx_client=connection)
        if body.get("stream"):
            return list(client.chat_stream(**given))
        return client.chat(**given)


def ollama(url: str, body: Mapping[str, Any]) -> Any:
    """Return a chat answer, or the list of a stream's chunks."""
    library = pytest.importorskip("ollama")
    client = library.Client(host=url)
    try:
        answer = client.chat(model=body["model"], messages=body["messages"], stream=body["stream"])
        return list(answer) if body["stream"] else answer
    finally:
        client._client.close()


def bedrock(url: str, body: Mapping[str, Any], *, stream: bool = False) -> Any:
    """Return a converse answer, or the list of a stream's events."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    try:
        if stream:
            return list(client.converse_stream(modelId="amazon.nova-lite-v1:0", **body)["stream"])
        return client.converse(modelId="amazon.nova-lite-v1:0", **body)
    finally:
        client.close()

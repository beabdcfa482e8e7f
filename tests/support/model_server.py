# ruff: noqa: E501  (bodies as they are on the wire)
"""A loopback server that answers as OpenAI, Anthropic and Gemini do; holds an answer back on demand."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHUNKS = ["Hel", "lo", "!"]


class ModelServer(ThreadingHTTPServer):
    """`gate` is waited for before the last chunk of a stream, and before a body whose text says `wait`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gate = threading.Event()
        self.gate.set()
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    asked = any(m.get("role") == "user" for m in body["messages"])
    answered = any(m.get("role") == "tool" for m in body["messages"])
    message: dict[str, Any] = {"role": "assistant", "content": "It is 21 degrees."}
    reason = "stop"
    if body.get("tools") and asked and not answered:
        name = body["tools"][0]["function"]["name"]
        function = {"name": name, "arguments": '{"city": "Bonn"}'}
        call = {"id": "call_1", "type": "function", "function": function}
        message, reason = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
    return {
        "id": f"chatcmpl-{len(body['messages'])}", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }  # fmt: skip


def _messages(body: dict[str, Any]) -> dict[str, Any]:
    answered = any(isinstance(m["content"], list) for m in body["messages"])
    content: list[dict[str, Any]] = [{"type": "text", "text": "It is 21 degrees."}]
    reason = "end_turn"
    if body.get("tools") and not answered:
        content, reason = (
            [
                {
                    "type": "tool_use",
                    "id": "tu_1",
                    "name": body["tools"][0]["name"],
                    "input": {"city": "Bonn"},
                }
            ],
            "tool_use",
        )
    return {
        "id": f"msg_{len(body['messages'])}", "type": "message", "role": "assistant", "model": "claude-future-1",
        "content": content, "stop_reason": reason, "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 2},
    }  # fmt: skip


def _response(body: dict[str, Any]) -> dict[str, Any]:
    asked = body["input"] if isinstance(body["input"], list) else [{"type": "message"}]
    answered = any(item.get("type") == "function_call_output" for item in asked)
    output: list[dict[str, Any]] = [
        {"id": "m1", "type": "message", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "It is 21 degrees.", "annotations": []}]}
    ]  # fmt: skip
    if body.get("tools") and not answered:
        output = [{"id": "f1", "type": "function_call", "call_id": "call_1", "status": "completed",
                   "name": body["tools"][0]["name"], "arguments": '{"city": "Bonn"}'}]  # fmt: skip
    return {
        "id": f"resp_{len(asked)}", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-4o-mini",
        "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0,
        "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7,
                  "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
    }  # fmt: skip


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": "list", "model": "text-embedding-3-small", "usage": {"prompt_tokens": 3, "total_tokens": 3},
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    }  # fmt: skip


def _gemini(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "responseId": "g1", "modelVersion": "gemini-2.5-flash",
        "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
    }  # fmt: skip


_ANSWERS = {
    "/chat/completions": _chat,
    "/responses": _response,
    "/embeddings": _embeddings,
    "/messages": _messages,
    ":generateContent": _gemini,
}


def _chat_stream() -> list[str]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        about = {
            "id": "chatcmpl-s",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt-4o-mini",
        }
        return f"data: {json.dumps({**about, 'choices': [choice]})}\n\n"

    return [
        *(chunk({"role": "assistant", "content": text}) for text in CHUNKS),
        chunk({}, "stop"),
        "data: [DONE]\n\n",
    ]


def _messages_stream() -> list[str]:
    start = {"id": "msg_s", "type": "message", "role": "assistant", "model": "claude-future-1", "content": [],
             "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 1}}  # fmt: skip
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}} for t in CHUNKS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]  # fmt: skip
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send({"ok": True})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        self.server.requests.append((path, body, {k.lower(): v for k, v in self.headers.items()}))
        if body.get("stream"):
            self._stream(_chat_stream() if path.endswith("/completions") else _messages_stream())
            return
        if "wait" in json.dumps(body):
            self.server.gate.wait(90)
        answer = next((make for end, make in _ANSWERS.items() if path.endswith(end)), None)
        self._send(answer(body) if answer is not None else {"ok": True})

    def _send(self, said: dict[str, Any]) -> None:
        data = json.dumps(said).encode()
        self.send_response(404 if self.path.startswith("/missing") else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, chunks: list[str]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for place, chunk in enumerate(chunks):
                if place == len(chunks) - 1:
                    self.server.gate.wait(90)
                self.wfile.write(chunk.encode())
                self.wfile.flush()
        except OSError:
            pass  # the client has left

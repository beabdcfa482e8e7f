# ruff: noqa: E501  (bodies as they are on the wire)
"""A loopback server that answers as OpenAI, Anthropic, Gemini and Mistral do; holds an answer back on demand.

Every answer is of the model that was asked, and costs `INPUT` and `OUTPUT` tokens.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHUNKS = ["Hel", "lo", "!"]
INPUT, OUTPUT = 5, 2


class ModelServer(ThreadingHTTPServer):
    """`gate` is waited for before the last chunk of a stream, and before a body whose text says `wait`.

    `asked` is set once there was a request. One whose body says `refuse` is refused.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
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


def model_answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return a chat completion of OpenAI's: the use of the first tool, once, or some text."""
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
        "id": f"chatcmpl-{len(body['messages'])}", "object": "chat.completion", "created": 1, "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": _CHAT_USAGE,
    }  # fmt: skip


_CHAT_USAGE = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}


def claude_answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return a message of Anthropic's: the use of the first tool, once, or some text."""
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
        "id": f"msg_{len(body['messages'])}", "type": "message", "role": "assistant", "model": body["model"],
        "content": content, "stop_reason": reason, "stop_sequence": None, "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT},
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
        "id": f"resp_{len(asked)}", "object": "response", "created_at": 1, "status": "completed", "model": body["model"],
        "output": output, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0,
        "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT,
                  "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
    }  # fmt: skip


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "emb_1", "object": "list", "model": body["model"], "usage": {"prompt_tokens": 3, "total_tokens": 3},
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    }  # fmt: skip


def _gemini(body: dict[str, Any], text: str = "hi", over: bool = True) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": text}]
    if body.get("tools") and not any("functionResponse" in str(c) for c in body["contents"]):
        name = body["tools"][0]["functionDeclarations"][0]["name"]
        parts = [{"functionCall": {"name": name, "args": {"city": "Bonn"}}}]
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    counts = {
        "promptTokenCount": INPUT,
        "candidatesTokenCount": OUTPUT,
        "totalTokenCount": INPUT + OUTPUT,
    }
    return {
        "responseId": "g1", "modelVersion": body["model"], "usageMetadata": counts,
        "candidates": [candidate | ({"finishReason": "STOP"} if over else {})],
    }  # fmt: skip


def _gemini_vectors(body: dict[str, Any]) -> dict[str, Any]:
    return {} if body["model"] == "nothing" else {"embeddings": [{"values": [0.1, 0.2]}]}


_ANSWERS = {
    "/chat/completions": model_answer,
    "/responses": _response,
    "/embeddings": _embeddings,
    "/messages": claude_answer,
    ":generateContent": _gemini,
    ":batchEmbedContents": _gemini_vectors,
}


def _chat_stream(body: dict[str, Any]) -> list[str]:
    about = {
        "id": "chatcmpl-s",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": body["model"],
    }

    def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _data({**about, "choices": [choice], **more})

    pieces = [chunk({"role": "assistant", "content": text}) for text in CHUNKS]
    if body.get("from_mistral"):  # which says it in the last chunk, unasked
        return [*pieces, chunk({}, "stop", usage=_CHAT_USAGE), "data: [DONE]\n\n"]
    usage = [_data({**about, "choices": [], "usage": _CHAT_USAGE})]
    asked = (body.get("stream_options") or {}).get("include_usage")
    return [*pieces, chunk({}, "stop"), *(usage if asked else ()), "data: [DONE]\n\n"]


def _messages_stream(body: dict[str, Any]) -> list[str]:
    start = {"id": "msg_s", "type": "message", "role": "assistant", "model": body["model"], "content": [],
             "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": INPUT, "output_tokens": 1}}  # fmt: skip
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}} for t in CHUNKS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": OUTPUT}},
        {"type": "message_stop"},
    ]  # fmt: skip
    return [f"event: {e['type']}\n{_data(e)}" for e in events]


def _response_stream(body: dict[str, Any]) -> list[str]:
    whole = _response({**body, "tools": None})
    whole["output"][0]["content"][0]["text"] = "".join(CHUNKS)
    (item,) = whole["output"]
    (part,) = item["content"]
    empty = {**whole, "status": "in_progress", "output": [], "usage": None}
    where = {"output_index": 0, "item_id": item["id"], "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": empty},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **where, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **where, "delta": text, "logprobs": []} for text in CHUNKS),
        {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **where, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]  # fmt: skip
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return [f"event: {event['type']}\n{_data(event)}" for event in numbered]


def _gemini_stream(body: dict[str, Any]) -> list[str]:
    return [_data(_gemini(body, text, over=text == CHUNKS[-1])) for text in CHUNKS]


_STREAMS = {
    "/chat/completions": _chat_stream,
    "/responses": _response_stream,
    "/messages": _messages_stream,
    ":streamGenerateContent": _gemini_stream,
}


def _data(event: dict[str, Any]) -> str:
    return f"data: {json.dumps(event)}\n\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.requests.append((self.path.partition("?")[0], {}, headers))
        self._send({"ok": True})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        is_json = "json" in (self.headers.get("content-type") or "")
        body = json.loads(data or b"{}") if is_json else {}
        path = self.path.partition("?")[0]
        self.server.requests.append((path, body, {k.lower(): v for k, v in self.headers.items()}))
        self.server.asked.set()
        asked = dict(body)
        if "/models/" in path:  # Google's has the model in it
            asked["model"] = path.rpartition("/")[2].partition(":")[0]
        asked["from_mistral"] = "mistral" in (self.headers.get("user-agent") or "")
        streams = body.get("stream") or path.endswith(":streamGenerateContent")
        known: Any = _STREAMS if streams else _ANSWERS
        answer = next((make for end, make in known.items() if path.endswith(end)), None)
        if "refuse" in json.dumps(body):
            # As providers do, it quotes what it was asked.
            error = {"type": "invalid_request_error", "message": json.dumps(body)}
            self._send({"type": "error", "error": error}, 400)
            return
        if streams:
            self._stream(answer(asked))
            return
        if "wait" in json.dumps(body):
            self.server.gate.wait(90)
        self._send(answer(asked) if answer is not None else {"ok": True})

    def _send(self, said: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(said).encode()
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/here")
        else:
            self.send_response(404 if self.path.startswith("/missing") else status)
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

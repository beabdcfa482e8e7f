"""Messages and their parts, of every provider, as OpenTelemetry's GenAI messages.

One function reads a content part of OpenAI (chat and responses), Anthropic, Google, Bedrock,
Mistral, Cohere and Ollama: the shapes do not clash, and frameworks mix them. Media are named and
measured, never copied.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lumina_stream.llm.shape import SEQUENCES, Fields, fields, items, mapping, plain, text

Part = dict[str, Any]

MOST_PARTS = 512
"""Parts of a message, and messages of a conversation, that are read; an event holds fewer."""
JSON_READ = 1 << 18
"""Characters of a tool call's arguments that are parsed; longer ones stay text."""

_ROLES = {
    "model": "assistant",
    "ai": "assistant",
    "chatbot": "assistant",
    "human": "user",
    "aimessagechunk": "assistant",
}


def text_part(content: str) -> Part:
    """Return a text part."""
    return {"type": "text", "content": content}


def reasoning_part(content: str) -> Part:
    """Return a part of the model's reasoning."""
    return {"type": "reasoning", "content": content}


def tool_call_part(call_id: Any, name: Any, arguments: Any) -> Part:
    """Return a tool call; arguments that are JSON text become what they say."""
    part: Part = {"type": "tool_call", "id": text(call_id), "name": text(name)}
    part["arguments"] = parsed(arguments)
    return part


def parsed(arguments: Any) -> Any:
    """Return the object or list that JSON text says, anything else as plain data."""
    said = text(arguments)
    if said is None:
        return plain(arguments)
    if said[:1] in ("{", "[") and len(said) <= JSON_READ:
        try:
            return msgspec.json.decode(said)
        except (ValueError, RecursionError):
            return said  # broken off, or never valid: as it is
    return said


def parts_of(content: Any) -> list[Part]:
    """Return the parts of a message's content: text, a list of parts, or one part."""
    if content is None:
        return []
    said = text(content)
    if said is not None:
        return [text_part(said)] if said else []
    if isinstance(content, SEQUENCES):
        return [part for item in items(content)[:MOST_PARTS] for part in part_of(item)]
    return part_of(content)


def part_of(item: Any) -> list[Part]:
    """Return what one content part says: usually one part, none for a cache mark."""
    said = text(item)
    if said is not None:
        return [text_part(said)]
    known = fields(item)
    kind = text(known.get("type"))
    if kind is None:
        return _untyped(item, known)
    if kind in ("text", "input_text", "output_text", "summary_text", "reasoning_text"):
        return _text(known)
    if kind == "message":
        return parts_of(known.get("content"))
    if kind in ("thinking", "reasoning"):
        return _reasoning(known)
    if kind == "redacted_thinking":
        return [{"type": "reasoning", "content": "", "redacted": True}]
    if kind == "refusal":
        return [{"type": "refusal", "content": text(known.get("refusal")) or ""}]
    if kind in ("function", "custom"):
        return _openai_call(known)
    if kind.endswith("tool_use") or kind == "tool_call" or kind == "tool-call":
        arguments = known.get("input")
        if arguments is None:
            arguments = known.get("args") or known.get("arguments")
        return [tool_call_part(known.get("id"), known.get("name"), arguments)]
    if kind.endswith(("tool_result", "_call_output", "_call_result", "tool_call_response")):
        return [_response(known)]
    if kind.endswith("_call"):
        return [_hosted_call(kind, known)]
    if kind in ("document", "file") and text(known.get("text")) is not None:
        return _text(known)
    media = _media(kind, known)
    if media is not None:
        return [media]
    return [{"type": kind, "content": plain(item)}]


def message_of(message: Any, role: str = "user") -> dict[str, Any]:
    """Return one message with its role and parts; `role` is for those that do not say."""
    said = text(message)
    if said is not None:
        return {"role": role, "parts": [text_part(said)]}
    known = fields(message)
    spoken = text(known.get("role"))
    kind = text(known.get("type"))
    if spoken is None and kind is not None:
        if kind in ("human", "ai", "system", "tool", "AIMessageChunk"):  # LangChain
            spoken = kind
        elif kind.endswith(("_output", "_result")):
            return {"role": "tool", "parts": part_of(message)}
        elif kind.endswith("_call") or kind == "reasoning":
            return {"role": "assistant", "parts": part_of(message)}
        else:
            return {"role": role, "parts": part_of(message)}
    named = (spoken or role).lower()
    named = _ROLES.get(named, named)
    found = parts_of_message(known)
    if not found and spoken is None and kind is None:
        found = part_of(message)
    if named == "tool":
        call_id = known.get("tool_call_id")
        if not any(part["type"] == "tool_call_response" for part in found):
            answer = _answer(found, known.get("content"))
            found = [{"type": "tool_call_response", "id": text(call_id), "response": answer}]
    result: dict[str, Any] = {"role": named, "parts": found}
    name = text(known.get("name"))
    if name:
        result["name"] = name
    return result


def messages_of(conversation: Any, role: str = "user") -> list[dict[str, Any]]:
    """Return the messages of a conversation: text, one message, or a list of them."""
    if conversation is None:
        return []
    if isinstance(conversation, SEQUENCES):
        return [message_of(item, role) for item in items(conversation)[-MOST_PARTS:]]
    return [message_of(conversation, role)]


def parts_of_message(known: Fields) -> list[Part]:
    """Return the parts of a message object, wherever its provider puts them."""
    get = known.get
    found: list[Part] = []
    for key in _THOUGHTS:
        value = get(key)
        if value is not None and (thought := text(value)):
            found.append(reasoning_part(thought))
            break
    content = get("content")
    if content is None:
        content = get("parts")
        if content is None:
            content = get("message") or get("text")  # Cohere's v1 history
    found += parts_of(content)
    refusal = text(get("refusal"))
    if refusal:
        found.append({"type": "refusal", "content": refusal})
    audio = get("audio")
    if audio is not None and (transcript := text(fields(audio).get("transcript"))):
        found.append(text_part(transcript))
    for call in items(get("tool_calls"))[:MOST_PARTS]:
        found += _openai_call(fields(call))
    called = get("function_call")
    if called is not None:
        call = fields(called)
        found.append(tool_call_part(None, call.get("name"), call.get("arguments")))
    for result in items(get("tool_results"))[:MOST_PARTS]:
        outputs = plain(fields(result).get("outputs"))
        found.append({"type": "tool_call_response", "id": None, "response": outputs})
    for image in items(get("images"))[:MOST_PARTS]:
        found.append(_blob("image", None, image))
    return found


_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "tool_plan")


def length_of(value: Any) -> int:
    """Return how many characters of text messages or parts hold; their keys and types do not count."""
    if isinstance(value, str):
        return len(value)
    if type(value) is dict:
        return sum(length_of(v) for k, v in mapping(value).items() if k not in _STRUCTURE)
    return sum(length_of(item) for item in items(value))


_STRUCTURE = frozenset({"type", "role", "finish_reason", "id", "modality", "mime_type"})


# --- one part ----------------------------------------------------------------------------------------


def _text(known: Fields) -> list[Part]:
    said = known.get("text")
    words = text(said)
    if words is None:
        words = text(fields(said).get("value"))
    return [text_part(words or "")]


def _joined(value: Any) -> str:
    said = text(value)
    if said is not None:
        return said
    return "".join(text(fields(item).get("text")) or text(item) or "" for item in items(value))


def _reasoning(known: Fields) -> list[Part]:
    for key in ("thinking", "reasoning", "content", "summary", "text"):
        said = _joined(known.get(key))
        if said:
            return [reasoning_part(said)]
    return [reasoning_part("")]


def _openai_call(known: Fields) -> list[Part]:
    """Read a tool call of OpenAI, Mistral, Ollama (arguments as an object) or Cohere."""
    function = known.get("function")
    if function is None:
        function = known.get("custom")
    inner = known if function is None else fields(function)
    arguments = inner.get("arguments")
    for key in ("input", "parameters", "args"):
        if arguments is None:
            arguments = inner.get(key)
    return [tool_call_part(known.get("id"), inner.get("name"), arguments)]


def _hosted_call(kind: str, known: Fields) -> Part:
    """Read a tool call item of OpenAI's responses: a function, or a tool of the provider's own."""
    call_id = text(known.get("call_id")) or known.get("id")
    for key in ("arguments", "input", "action", "queries", "code"):
        arguments = known.get(key)
        if arguments is not None:
            break
    else:
        arguments = None
    return tool_call_part(call_id, text(known.get("name")) or kind.removesuffix("_call"), arguments)


def _answer(found: list[Part], content: Any) -> Any:
    if len(found) == 1 and found[0]["type"] == "text":
        return found[0]["content"]
    return found or plain(content)


def _response(known: Fields) -> Part:
    for key in ("content", "output", "response", "result"):
        content = known.get(key)
        if content is not None:
            break
    else:
        content = None
    call_id = known.get("tool_use_id") or known.get("call_id") or known.get("id")
    is_read = isinstance(content, str | list | tuple)
    answer: Any = _answer(parts_of(content), content) if is_read else plain(content)
    return {"type": "tool_call_response", "id": text(call_id), "response": answer}


def _untyped(item: Any, known: Fields) -> list[Part]:
    said = text(known.get("text"))
    if said is not None:
        return [reasoning_part(said) if known.get("thought") is True else text_part(said)]
    call = known.get("functionCall") or known.get("function_call")
    if call is not None:
        inner = fields(call)
        return [tool_call_part(inner.get("id"), inner.get("name"), inner.get("args"))]
    answer = known.get("functionResponse") or known.get("function_response")
    if answer is not None:
        inner = fields(answer)
        response = plain(inner.get("response"))
        return [{"type": "tool_call_response", "id": text(inner.get("id")), "response": response}]
    use = known.get("toolUse")
    if use is not None:
        inner = fields(use)
        return [tool_call_part(inner.get("toolUseId"), inner.get("name"), inner.get("input"))]
    result = known.get("toolResult")
    if result is not None:
        inner = fields(result)
        content = parts_of(inner.get("content"))
        response = _answer(content, inner.get("content"))
        return [
            {"type": "tool_call_response", "id": text(inner.get("toolUseId")), "response": response}
        ]
    thought = known.get("reasoningContent")
    if thought is not None:
        inner = fields(fields(thought).get("reasoningText"))
        return [reasoning_part(text(inner.get("text")) or "")]
    guarded = known.get("guardContent")
    if guarded is not None:
        return part_of(fields(guarded).get("text") or guarded)
    cited = known.get("citationsContent")
    if cited is not None:
        return parts_of(fields(cited).get("content"))
    if known.get("cachePoint") is not None:
        return []
    if known.get("function") is not None:
        return _openai_call(known)
    return _untyped_media(item, known)


def _untyped_media(item: Any, known: Fields) -> list[Part]:
    inline = known.get("inlineData") or known.get("inline_data")
    if inline is not None:
        inner = fields(inline)
        mime = text(inner.get("mimeType")) or text(inner.get("mime_type"))
        return [_blob(_modality(mime), mime, inner.get("data"))]
    stored = known.get("fileData") or known.get("file_data")
    if stored is not None:
        inner = fields(stored)
        mime = text(inner.get("mimeType")) or text(inner.get("mime_type"))
        uri = text(inner.get("fileUri")) or text(inner.get("file_uri"))
        return [{"type": "uri", "modality": _modality(mime), "mime_type": mime, "uri": uri}]
    for camel, snake in (
        ("executableCode", "executable_code"),
        ("codeExecutionResult", "code_execution_result"),
    ):
        code = known.get(camel) or known.get(snake)
        if code is not None:
            return [{"type": snake, "content": plain(code)}]
    for modality in ("image", "video", "audio", "document"):
        media = known.get(modality)
        if media is not None:
            inner = fields(media)
            source = fields(inner.get("source"))
            place = fields(source.get("s3Location")).get("uri")
            mime = f"{modality}/{text(inner.get('format')) or '*'}"
            if place is not None:
                return [
                    {"type": "uri", "modality": modality, "mime_type": mime, "uri": text(place)}
                ]
            return [_blob(modality, mime, source.get("bytes"))]
    return [{"type": "other", "content": plain(item)}]


def _media(kind: str, known: Fields) -> Part | None:
    if kind not in _MEDIA:
        return None
    modality = _MEDIA[kind]
    inner = fields(known.get(kind))  # {"type": "image_url", "image_url": {"url": ...}}
    source = fields(known.get("source"))  # Anthropic
    where = text(inner.get("url")) or text(known.get(kind)) or text(source.get("url"))
    where = where or text(known.get("image_url")) or text(known.get("file_url"))
    file_id = (
        text(source.get("file_id")) or text(known.get("file_id")) or text(inner.get("file_id"))
    )
    if file_id:
        return {"type": "file", "modality": modality, "file_id": file_id}
    if where and not where.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": where}
    if where:
        return _blob(modality, where[5:100].partition(";")[0], where)
    if text(source.get("type")) == "text":
        return text_part(text(source.get("data")) or "")
    mime = text(source.get("media_type")) or text(inner.get("format"))
    data = source.get("data") or inner.get("data") or inner.get("file_data")
    return _blob(modality, mime, data or known.get("file_data") or known.get("data"))


_MEDIA = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "document": "document",
    "document_url": "document",
    "input_file": "document",
    "file": "document",
    "video": "video",
    "video_url": "video",
}


def _modality(mime: str | None) -> str:
    start = (mime or "").partition("/")[0]
    return start if start in ("image", "audio", "video") else "document"


def _blob(modality: str, mime: str | None, data: Any) -> Part:
    """Name and measure a medium; its bytes would only be cut."""
    part: Part = {"type": "blob", "modality": modality, "mime_type": mime}
    if isinstance(data, str | bytes | bytearray):
        part["length"] = len(data)
    return part

"""How the stand-in of `openai_compatible_server.py` takes a tool: a keyword rule, no understanding.

Each part of the question goes to the tool whose description shares the most words with it. One
call a turn, each tool once; a tool's text parameters get the part as it stands, its numeric
parameters the part's numbers in order. When nothing fits any more, the answer is due.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rag_retrieval import terms_of


@dataclass(frozen=True)
class Call:
    tool: str
    arguments: dict[str, Any]

    def as_tool_call(self) -> dict[str, Any]:
        function = {"name": self.tool, "arguments": json.dumps(self.arguments)}
        return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def choose_call(
    tools: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]], parts: Sequence[str]
) -> Call | None:
    """The next call for the parts of the question, None when no tool is left that fits one."""
    functions = [tool["function"] for tool in tools]
    taken = {
        call["function"]["name"] for message in messages for call in message.get("tool_calls") or []
    }
    for part in parts:
        wanted = set(terms_of(part))
        ranked = sorted(functions, key=lambda function: -len(wanted & _words_of(function)))
        for function in ranked[:1]:
            if function["name"] not in taken and wanted & _words_of(function):
                return Call(function["name"], _arguments(function, part))
    return None


def tool_results(messages: Sequence[dict[str, Any]]) -> list[str]:
    """What the tools said; a result that is no list of passages becomes one."""
    found: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            text = str(message["content"])
            number = len(re.findall(r"^\[\d+\] ", "\n".join(found), re.MULTILINE)) + 1
            found.append(text if text.startswith("[") else f"[{number}] result of a tool\n{text}")
    return found


def _words_of(function: dict[str, Any]) -> set[str]:
    return set(terms_of(f"{function['name']} {function.get('description', '')}"))


def _arguments(function: dict[str, Any], part: str) -> dict[str, Any]:
    numbers = iter(re.findall(r"\d+(?:\.\d+)?", part))
    arguments: dict[str, Any] = {}
    for name, schema in function.get("parameters", {}).get("properties", {}).items():
        match schema.get("type"):
            case "string":
                arguments[name] = part
            case "number" | "integer":
                arguments[name] = float(next(numbers, 0))
            case _:
                pass
    return arguments

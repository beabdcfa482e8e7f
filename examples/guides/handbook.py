"""What the guides share: the handbook's index, the prompt, and the model's stand-in.

Nothing here is traced. The documents, the search and the HTTP calls are real; the "model" copies
sentences from the passages that it is given (see `../openai_compatible_server.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from openai.types.chat import ChatCompletionMessageParam

sys.path.insert(0, str(Path(__file__).parents[1]))

from openai_compatible_server import MODEL, Pace, serve_in_background, serve_in_thread
from rag_retrieval import Chunk, ChunkIndex, load_document, split_into_chunks

__all__ = ["MODEL", "QUICK", "Chunk", "Pace", "load_index", "prompt", "serve", "serve_in_thread"]

EXAMPLES = Path(__file__).parents[1]

serve = serve_in_background
QUICK = Pace(first_token_s=0.05, between_tokens_s=0.002)


def load_index() -> ChunkIndex:
    paths = sorted((EXAMPLES / "documents").glob("*.md"))
    return ChunkIndex([c for path in paths for c in split_into_chunks(load_document(path))])


def prompt(question: str, chunks: Sequence[Chunk]) -> list[ChatCompletionMessageParam]:
    passages = [f"[{n}] {chunk.heading}\n{chunk.text}" for n, chunk in enumerate(chunks, start=1)]
    return [
        {"role": "system", "content": "Answer from the passages only and cite them by number."},
        {"role": "user", "content": "\n\n".join([*passages, f"Question: {question}"])},
    ]

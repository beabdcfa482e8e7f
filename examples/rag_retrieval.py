"""The retrieval half of `rag_pipeline.py`: chunks, BM25 lists, fusion, refinement and re-ranking.

Plain functions over plain values, without tracing: the pipeline puts the spans around them.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bm25s

CHUNK_WORDS = 180
RRF_K = 60  # The constant of the paper by Cormack, Clarke and Büttcher (2009).
WORTH_KEEPING = 0.5  # A chunk with less than this share of the best score would only distract.
MIN_REFINEMENT_DOCUMENTS = 2  # A word in one document only is a quirk of its author.

# Short on purpose: in technical text words such as "not" carry meaning.
_STOP_WORDS = """
    a an and are as at be but by does do for from has have how i if in into is it its of on or
    that the their then there these they this to was were what when where which while who why
    will with happens happen
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class Document:
    name: str
    title: str
    text: str


@dataclass(frozen=True)
class Chunk:
    chunk_id: str
    document: str
    heading: str
    text: str


@dataclass(frozen=True)
class ScoredChunk:
    chunk: Chunk
    score: float


def load_document(path: Path) -> Document:
    text = path.read_text(encoding="utf-8")
    title = text.split("\n", 1)[0].removeprefix("# ").strip()
    return Document(path.name, title, text)


def split_into_chunks(document: Document) -> list[Chunk]:
    """Cut at headings first, then between paragraphs, never inside a paragraph."""
    chunks: list[Chunk] = []
    for section in re.split(r"^## ", document.text.removeprefix("# "), flags=re.MULTILINE):
        heading, _, body = section.partition("\n")
        path = heading if heading == document.title else f"{document.title} > {heading}"
        for text in _group_paragraphs(body):
            number = len(chunks) + 1
            chunks.append(Chunk(f"{document.name}#{number}", document.name, path, text))
    return chunks


def terms_of(text: str) -> list[str]:
    """The stemmed words of a text; queries and chunks must both pass through here."""
    words = re.findall(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*", text.lower())
    terms: list[str] = []
    for word in words:
        if word in STOP_WORDS:
            continue
        terms.append(_stem(word))
        # Identifiers and compounds are found as a whole and by their parts.
        parts = re.split(r"[-_.]", word)
        if len(parts) > 1:
            terms.extend(_stem(part) for part in parts if part and part not in STOP_WORDS)
    return terms


class ChunkIndex:
    """BM25 over chunks, with what refinement and re-ranking need to know about their terms."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = list(chunks)
        self._terms = [terms_of(f"{chunk.heading} {chunk.text}") for chunk in self.chunks]
        terms_by_document: defaultdict[str, set[str]] = defaultdict(set)
        for chunk, terms in zip(self.chunks, self._terms, strict=True):
            terms_by_document[chunk.document].update(terms)
        self._document_count = len(terms_by_document)
        self._documents_with = Counter(
            term for terms in terms_by_document.values() for term in terms
        )
        self._bm25 = bm25s.BM25()
        self._bm25.index(self._terms, show_progress=False)

    def search(self, query: str, top_k: int) -> list[ScoredChunk]:
        """The best chunks by BM25; fewer than `top_k` when fewer share a term with the query."""
        known = [term for term in terms_of(query) if term in self._documents_with]
        if not known:
            return []
        k = min(top_k, len(self.chunks))
        numbers, scores = self._bm25.retrieve([known], k=k, show_progress=False)
        pairs = zip(numbers[0].tolist(), scores[0].tolist(), strict=True)
        return [ScoredChunk(self.chunks[number], score) for number, score in pairs if score > 0]

    def weight(self, term: str) -> float:
        """Inverse document frequency; an unknown term weighs nothing, no chunk can contain it."""
        count = self._documents_with[term]
        return math.log(1 + self._document_count / count) if count else 0.0

    def refinement_terms(self, question: str, notes: Iterable[str], limit: int) -> list[str]:
        """Words prominent in the notes and absent from the question: leads for the next hop."""
        asked = set(terms_of(question))
        spelling: dict[str, str] = {}
        mentions: Counter[str] = Counter()
        for note in notes:
            words = re.findall(r"[A-Za-z][A-Za-z-]{3,}", note)
            for word in words:
                for term in terms_of(word)[:1]:
                    spelling.setdefault(term, word)
            mentions.update(set(terms_of(" ".join(words))))
        scored = {
            term: count * self.weight(term)
            for term, count in mentions.items()
            if term not in asked
            and term in spelling
            and self._documents_with[term] >= MIN_REFINEMENT_DOCUMENTS
        }
        best = sorted(scored, key=lambda term: (-scored[term], term))[:limit]
        return [spelling[term] for term in best]


def fuse(lists: Iterable[Sequence[ScoredChunk]]) -> list[ScoredChunk]:
    """Reciprocal rank fusion: what stands high in several lists rises above one-list winners."""
    scores: defaultdict[str, float] = defaultdict(float)
    chunks: dict[str, Chunk] = {}
    for results in lists:
        for rank, result in enumerate(results, start=1):
            chunks[result.chunk.chunk_id] = result.chunk
            scores[result.chunk.chunk_id] += 1 / (RRF_K + rank)
    fused = [ScoredChunk(chunks[chunk_id], score) for chunk_id, score in scores.items()]
    return sorted(fused, key=_descending)


def rerank(
    index: ChunkIndex, queries: Sequence[str], candidates: Sequence[ScoredChunk], keep: int
) -> list[ScoredChunk]:
    """Order by coverage, proximity and heading match; every query keeps its best chunk.

    The first query is the question as it was asked. It weighs in on the others, because a short
    sub-query such as "who is paged" fits chunks from anywhere.
    """
    chunks = [candidate.chunk for candidate in candidates]
    on_question = {chunk.chunk_id: relevance(index, queries[0], chunk) for chunk in chunks}
    best: dict[str, ScoredChunk] = {}
    winners: list[str] = []
    for query in queries:
        scored = [
            ScoredChunk(chunk, relevance(index, query, chunk) + on_question[chunk.chunk_id])
            for chunk in chunks
        ]
        winners.extend(result.chunk.chunk_id for result in sorted(scored, key=_descending)[:1])
        for result in scored:
            known = best.setdefault(result.chunk.chunk_id, result)
            if result.score > known.score:
                best[result.chunk.chunk_id] = result
    ordered = sorted(best.values(), key=_descending)
    names = dict.fromkeys([*winners, *(result.chunk.chunk_id for result in ordered)])
    chosen = [best[name] for name in list(names)[:keep]]
    floor = WORTH_KEEPING * max((result.score for result in chosen), default=0.0)
    return sorted((result for result in chosen if result.score >= floor), key=_descending)


def relevance(index: ChunkIndex, query: str, chunk: Chunk) -> float:
    """Between 0 and 1: how much of the query the chunk covers, how closely, and in its heading."""
    wanted = {term: index.weight(term) for term in terms_of(query)}
    total = math.fsum(wanted.values())
    if not total:
        return 0.0
    words = terms_of(chunk.text)
    found = set(words) & set(wanted)
    in_heading = set(terms_of(chunk.heading)) & set(wanted)
    coverage = math.fsum(wanted[term] for term in found | in_heading) / total
    heading = math.fsum(wanted[term] for term in in_heading) / total
    window = _shortest_window(words, found)
    # Twice the number of terms is as close as prose gets; a lone term says nothing of proximity.
    proximity = min(1.0, 2 * len(found) / window) if len(found) > 1 else 0.0
    return 0.55 * coverage + 0.2 * proximity * coverage + 0.25 * heading


def _descending(result: ScoredChunk) -> float:
    return -result.score


def _group_paragraphs(body: str) -> list[str]:
    groups: list[str] = []
    words = 0
    for paragraph in re.split(r"\n\s*\n", body.strip()):
        length = len(paragraph.split())
        if groups and words + length <= CHUNK_WORDS:
            groups[-1] += "\n\n" + paragraph
            words += length
        elif paragraph:
            groups.append(paragraph)
            words = length
    return groups


def _shortest_window(words: Sequence[str], wanted: set[str]) -> int:
    """The length of the shortest run of words that contains every wanted term."""
    inside: Counter[str] = Counter()
    shortest = len(words)
    start = 0
    for end, word in enumerate(words):
        if word not in wanted:
            continue
        inside[word] += 1
        while len(inside) == len(wanted):
            shortest = min(shortest, end - start + 1)
            first = words[start]
            if first in inside:
                inside[first] -= 1
                if not inside[first]:
                    del inside[first]
            start += 1
    return shortest


def _stem(word: str) -> str:
    """Cut common English endings: crude, and the same on both sides, which is what matters."""
    for ending, replacement in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3 and not word.endswith(("ss", "us")):
            return (stem + replacement).removesuffix("e")
    return word.removesuffix("e") if len(word) > 4 else word

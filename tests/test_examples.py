"""Every example runs as a user would run it, and leaves the trees that it promises."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.programs import environment, get_json, spans_of
from support.relay_process import running_relay

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_example(name: str, tmp_path: Path, *arguments: str) -> tuple[list[Any], str]:
    """Run an example against a relay of its own; return its trees, newest last, and its output."""
    with running_relay(tmp_path / "data") as relay:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
            env=environment(relay.url),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert "not delivered" not in done.stderr
        traces = get_json(f"{relay.url}/v1/traces?limit=1000")["traces"]
        ids = [trace["trace_id"] for trace in reversed(traces)][:20]
        trees = [get_json(f"{relay.url}/v1/traces/{trace_id}") for trace_id in ids]
        assert {trace["state"] for trace in traces} <= {"ok", "error"}
        assert len(trees) == min(20, len(traces))
    return trees, done.stdout


def depth(tree: Any) -> int:
    """Return the number of levels of a tree."""

    def below(span: Any) -> int:
        return 1 + max((below(child) for child in span["children"]), default=0)

    return max(below(root) for root in tree["roots"])


@pytest.mark.slow
def test_rag_pipeline(tmp_path: Path) -> None:
    """The RAG pipeline: at least 12 spans over 4 levels, a failed attempt that was retried, a slow tool."""
    (tree,), out = run_example("rag_pipeline.py", tmp_path, "--fast")
    spans = spans_of(tree)
    assert len(spans) >= 12 and depth(tree) >= 4
    assert tree["state"] == "ok"
    kinds = {span["kind"] for span in spans}
    assert {"llm", "retrieval", "rerank", "tool"} <= kinds
    failed = [span for span in spans if span["state"] == "error"]
    assert failed and all(span["error"]["message"] for span in failed)
    assert "documents/" in out or ".md" in out


def test_rag_request(tmp_path: Path) -> None:
    """The guide's example, as its tree."""
    (tree,), _ = run_example("rag_request.py", tmp_path)
    (root,) = tree["roots"]
    assert root["name"] == "rag_request"
    assert "user_query" in root["attributes"] and "rag_version" in root["attributes"]
    names = [child["name"] for child in root["children"]]
    assert names == ["retrieval", "synthesis"]
    assert root["children"][0]["attributes"] == {"db.top_k": 2, "db.results_count": 2}
    assert [event["name"] for event in root["events"]] == ["documents retrieved"]


@pytest.mark.parametrize("name", ["sync_script.py", "threads.py", "agent_loop.py"])
def test_one_tree(name: str, tmp_path: Path) -> None:
    """One program, one tree, nothing left open."""
    trees, _ = run_example(name, tmp_path)
    assert len(trees) == 1
    assert depth(trees[0]) >= 2


def test_process_pool(tmp_path: Path) -> None:
    """Workers' spans hang below the caller's, from processes of their own."""
    (tree,), _ = run_example("process_pool.py", tmp_path)
    producers = {span["producer_id"] for span in spans_of(tree)}
    assert len(producers) >= 2
    assert tree["missing"] == 0


def test_starlette_service(tmp_path: Path) -> None:
    """A trace that crosses two processes over HTTP headers is one tree."""
    trees, _ = run_example("starlette_service.py", tmp_path)
    services = [{span["service"] for span in spans_of(tree)} for tree in trees]
    assert all(len(names) == 2 for names in services), services
    assert all(len(tree["roots"]) == 1 for tree in trees)


def test_linked_batch(tmp_path: Path) -> None:
    """A thousand traces of their own, each linked to the batch."""
    with running_relay(tmp_path / "data") as relay:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLES / "linked_batch.py")],
            env=environment(relay.url),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        names: Counter[str] = Counter()
        url = f"{relay.url}/v1/traces?limit=1000"
        page = get_json(url)
        while True:
            names.update(trace["name"] for trace in page["traces"])
            if page["next"] is None:
                break
            page = get_json(f"{url}&cursor={page['next']}")
    assert sum(names.values()) == 1_001
    assert sorted(names.values()) == [1, 1_000]


def test_in_process(tmp_path: Path) -> None:
    """A live subscription inside the program prints what it sees; no relay is involved."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "in_process.py")],
        env=environment(None),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.strip()

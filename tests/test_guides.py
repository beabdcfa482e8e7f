"""Every pipeline of the guides runs as a user would run it, and leaves the tree that its page shows."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.programs import environment, get_json, spans_of
from support.relay_process import RelayProcess, running_relay

REPOSITORY = Path(__file__).parents[1]
GUIDES = REPOSITORY / "examples" / "guides"
PAGES = REPOSITORY / "docs" / "guides"
NAMES = sorted(path.stem for path in GUIDES.glob("*.py") if path.stem != "handbook")

pytest.importorskip("openai")
pytest.importorskip("bm25s")


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    data = tmp_path_factory.mktemp("guides") / "data"
    with running_relay(data, prices=[str(GUIDES / "prices.toml")]) as running:
        yield running


def run_guide(name: str, relay: RelayProcess) -> tuple[list[Any], str]:
    """Run a guide's program; return its trees, oldest first, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(GUIDES / f"{name}.py")],
        env=environment(relay.url),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    service = name.replace("_", "-")
    traces = get_json(f"{relay.url}/v1/traces?service={service}")["traces"]
    trees = [get_json(f"{relay.url}/v1/traces/{trace['trace_id']}") for trace in reversed(traces)]
    for tree in trees:
        assert tree["state"] == "ok" and tree["open"] == tree["missing"] == 0
    return trees, done.stdout


def shape(span: Any) -> Any:
    """Return a span and what is below it as names with kinds, states where they are not `ok`."""
    label = f"{span['name']}:{span['kind']}"
    if span["state"] != "ok":
        label += f":{span['state']}"
    below = [shape(child) for child in span["children"]]
    return [label, *below] if below else label


def only(trees: list[Any]) -> Any:
    """Return the root of the only tree."""
    (tree,) = trees
    (root,) = tree["roots"]
    return root


def named(root: Any, name: str) -> list[Any]:
    """Return the spans of a name, in their order."""
    return [span for span in spans_of({"roots": [root]}) if span["name"] == name]


def assert_answered(span: Any, *, model: str = "extractive-1") -> None:
    """Check that a model's span has what was asked and what came back."""
    attributes = span["attributes"]
    assert span["kind"] == "llm" and span["state"] == "ok"
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == attributes["gen_ai.response.model"] == model
    assert attributes["gen_ai.response.finish_reasons"] in (["stop"], ["tool_calls"])
    assert attributes["gen_ai.response.id"].startswith("chatcmpl-")
    assert attributes["gen_ai.input.messages"] and attributes["gen_ai.output.messages"]
    assert span["rollup"]["input_tokens"] == attributes["gen_ai.usage.input_tokens"] > 0
    assert span["rollup"]["output_tokens"] == attributes["gen_ai.usage.output_tokens"] > 0
    assert span["rollup"]["cost_usd"] > 0


def test_simple_rag(relay: RelayProcess) -> None:
    """A retrieval, then a model's answer that the program printed too."""
    trees, out = run_guide("simple_rag", relay)
    root = only(trees)
    assert shape(root) == ["rag_request:task", "retrieval:retrieval", "synthesis:llm"]
    retrieval, synthesis = root["children"]
    assert retrieval["attributes"]["db.top_k"] == retrieval["attributes"]["db.results_count"] == 3
    assert len(retrieval["attributes"]["found"]) == 3
    assert_answered(synthesis)
    (message,) = synthesis["attributes"]["gen_ai.output.messages"]
    assert message["parts"][0]["content"] in out


def test_multi_hop(relay: RelayProcess) -> None:
    """Two hops, the second with words of the first and with chunks that the first had not."""
    trees, _ = run_guide("multi_hop", relay)
    root = only(trees)
    assert shape(root) == [
        "multi_hop:task",
        ["hop:task", "retrieval:retrieval", "read_passages:llm"],
        ["hop:task", "retrieval:retrieval"],
        "synthesis:llm",
    ]
    first, second = named(root, "hop")
    assert [first["attributes"]["number"], second["attributes"]["number"]] == [1, 2]
    (refined,) = first["events"]
    assert refined["name"] == "query refined"
    words = " ".join(refined["attributes"]["terms"])
    assert second["attributes"]["query"] == f"{first['attributes']['query']} {words}"
    assert second["attributes"]["new_chunks"]
    for name in ("read_passages", "synthesis"):
        assert_answered(named(root, name)[0])


def test_reranking(relay: RelayProcess) -> None:
    """The re-ranker's span says what was kept and from where it came."""
    trees, _ = run_guide("reranking", relay)
    root = only(trees)
    assert shape(root) == [
        "rag_request:task",
        "retrieval:retrieval",
        "rerank:rerank",
        "synthesis:llm",
    ]
    rerank = root["children"][1]["attributes"]
    assert len(rerank["kept"]) == len(rerank["ranks_before"]) > 0
    assert rerank["ranks_before"] != sorted(rerank["ranks_before"])
    assert_answered(root["children"][2])


def test_parallel_retrieval(relay: RelayProcess) -> None:
    """Three sources at the same time; the one past its deadline is cancelled, its siblings are not."""
    trees, _ = run_guide("parallel_retrieval", relay)
    root = only(trees)
    parallel, synthesis = root["children"]
    assert root["name"] == "rag_request"
    assert sorted(shape(parallel)[1:]) == [
        "archive:retrieval:cancelled",
        "passages:retrieval",
        "titles:retrieval",
    ]
    assert parallel["attributes"]["answered"] == ["passages", "titles"]
    assert all(
        span["start_ns"] < parallel["children"][0]["end_ns"] for span in parallel["children"]
    )
    assert_answered(synthesis)


def test_cached_llm(relay: RelayProcess) -> None:
    """The third request is the first one again: a hit, without a model's span and without tokens."""
    trees, _ = run_guide("cached_llm", relay)
    cached = named(only(trees), "cached_completion")
    assert [span["kind"] for span in cached] == ["cache"] * 3
    assert [span["attributes"]["cache.hit"] for span in cached] == [False, False, True]
    assert cached[0]["attributes"]["cache.key"] == cached[2]["attributes"]["cache.key"]
    for span in cached[:2]:
        assert_answered(span["children"][0])
    assert cached[2]["children"] == []
    assert cached[2]["rollup"]["input_tokens"] == cached[2]["rollup"]["output_tokens"] == 0


def test_fallback_chain(relay: RelayProcess) -> None:
    """One span a model that was tried: a timeout, a refusal, an answer, in a chain that succeeded."""
    trees, _ = run_guide("fallback_chain", relay)
    root = only(trees)
    (chain,) = root["children"]
    assert shape(chain) == [
        "fallback_chain:task",
        "chat extractive-large:llm:error",
        "chat extractive-medium:llm:error",
        "chat extractive-small:llm",
    ]
    hung, refused, answered = chain["children"]
    assert hung["error"]["type"] == "openai.APITimeoutError"
    assert refused["error"]["type"] == "openai.InternalServerError"
    assert hung["rollup"]["input_tokens"] == refused["rollup"]["input_tokens"] == 0
    assert answered["attributes"]["gen_ai.response.model"] == "extractive-small"
    assert answered["rollup"]["input_tokens"] == chain["rollup"]["input_tokens"] > 0
    assert chain["attributes"]["answered_by"] == "extractive-small"
    models = [event["attributes"]["model"] for event in chain["events"]]
    assert models == ["extractive-large", "extractive-medium"]


def test_retries(relay: RelayProcess) -> None:
    """One call with three attempts, two of which were refused; its tokens are counted once."""
    trees, _ = run_guide("retries", relay)
    root = only(trees)
    assert shape(root) == [
        "synthesis:llm",
        "attempt:http:error",
        "attempt:http:error",
        "attempt:http",
    ]
    assert [span["attributes"]["number"] for span in root["children"]] == [1, 2, 3]
    assert "503" in root["children"][0]["error"]["message"]
    assert [event["name"] for event in root["events"]] == ["retry scheduled"] * 2
    assert_answered(root)
    assert root["rollup"]["input_tokens"] == root["attributes"]["gen_ai.usage.input_tokens"]


def test_streaming(relay: RelayProcess) -> None:
    """A whole stream has text, usage and time to first chunk; one left early is cancelled, without usage."""
    trees, out = run_guide("streaming", relay)
    whole, left = only(trees)["children"]
    assert_answered(whole)
    assert whole["text"]["output"] in out
    for span in (whole, left):
        first_s = span["attributes"]["gen_ai.response.time_to_first_chunk"]
        assert 0 < first_s * 1e9 < span["duration_ns"]
    assert left["kind"] == "llm" and left["state"] == "cancelled"
    assert left["attributes"]["lumina.stream.pieces"] == 12
    assert left["text"]["output"].strip() in out
    assert "gen_ai.usage.input_tokens" not in left["attributes"]


def test_tool_agent(relay: RelayProcess) -> None:
    """Two steps take a tool each, the third one answers; tool calls are in the model's message."""
    trees, out = run_guide("tool_agent", relay)
    root = only(trees)
    assert shape(root) == [
        "agent:agent",
        ["step:task", "decide:llm", "search_handbook:tool"],
        ["step:task", "decide:llm", "multiply:tool"],
        ["step:task", "decide:llm"],
    ]
    assert root["attributes"]["agent.stop_reason"] == "answered"
    decisions = named(root, "decide")
    for decision in decisions:
        assert_answered(decision)
        assert len(decision["attributes"]["gen_ai.tool.definitions"]) == 2
    reasons = [span["attributes"]["gen_ai.response.finish_reasons"] for span in decisions]
    assert reasons == [["tool_calls"], ["tool_calls"], ["stop"]]
    (call,) = decisions[1]["attributes"]["gen_ai.output.messages"][0]["parts"]
    assert (call["type"], call["name"]) == ("tool_call", "multiply")
    assert call["arguments"] == {"a": 4.0, "b": 5.5}
    (multiply,) = named(root, "multiply")
    assert multiply["attributes"]["function.result"] in out
    total = sum(span["rollup"]["input_tokens"] for span in decisions)
    assert root["rollup"]["input_tokens"] == total


def test_cost_per_customer(relay: RelayProcess) -> None:
    """The relay's sums are those of the spans, and the program prints them."""
    trees, out = run_guide("cost_per_customer", relay)
    assert len(trees) == 3
    spent: dict[str, list[float]] = {}
    for tree in trees:
        (root,) = tree["roots"]
        assert shape(root) == ["rag_request:task", "synthesis:llm"]
        for span in spans_of(tree):
            assert span["attributes"]["customer"] == root["attributes"]["customer"]
        assert_answered(root["children"][0])
        tokens = root["rollup"]
        expected = (2 * tokens["input_tokens"] + 8 * tokens["output_tokens"]) / 1_000_000
        assert tokens["cost_usd"] == pytest.approx(expected)
        spent.setdefault(root["attributes"]["customer"], []).append(expected)
    assert {name: len(costs) for name, costs in spent.items()} == {"acme": 2, "globex": 1}
    printed = re.findall(r"^(\w+) +(\d+) calls .* \$([\d.]+)$", out, re.MULTILINE)
    assert {name: (int(calls), float(cost)) for name, calls, cost in printed} == {
        name: (len(costs), pytest.approx(sum(costs), abs=1e-6)) for name, costs in spent.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_pages(name: str) -> None:
    """Each program has a page, which the index links, and whose code is the program's."""
    page = PAGES / f"{name.replace('_', '-')}.md"
    text = page.read_text("utf-8")
    assert f"({page.name})" in (PAGES / "README.md").read_text("utf-8")
    assert f"examples/guides/{name}.py" in text
    source = {line.strip() for line in (GUIDES / f"{name}.py").read_text("utf-8").splitlines()}
    quoted = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert quoted
    for line in "".join(quoted).splitlines():
        assert not line.strip() or line.strip() == "..." or line.strip() in source, line


def test_every_guide_is_tested() -> None:
    assert {f"test_{name}" for name in NAMES} <= set(globals())

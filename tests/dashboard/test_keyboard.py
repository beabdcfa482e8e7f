"""The page without a mouse, and for people who do not see it: keys, roles, contrast."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import keep, open_page
from support.programs import program, run
from support.relay_process import RelayProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(__file__).parents[2] / "lumina_stream/dashboard/node_modules/axe-core/axe.min.js"
FAILING = """
    import lumina_stream as lumina

    lumina.init(service_name="keys")
    try:
        with lumina.trace("request", kind="agent"):
            for number in range(3):
                with lumina.trace(f"step {number}", kind="tool"):
                    pass
            with lumina.trace_llm("answer", provider="openai", model="gpt-4o-mini") as call:
                call.record_request({"messages": [{"role": "user", "content": "Why?"}]})
                call.record({"id": "r1", "object": "chat.completion", "model": "gpt-4o-mini",
                    "choices": [{"index": 0, "finish_reason": "stop",
                                 "message": {"role": "assistant", "content": "Because."}}],
                    "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
            with lumina.trace("lookup", kind="db", attributes={"db.table": "orders"}):
                raise LookupError("no row with id 7")
    except LookupError:
        pass
"""
OPEN = """
    import sys
    import lumina_stream as lumina

    lumina.init(service_name="open")
    with lumina.trace("waiting"):
        print("open", flush=True)
        sys.stdin.readline()
"""


@pytest.mark.slow
def test_keyboard_only(browser: "Browser", relay: RelayProcess) -> None:
    """Open a trace, find a span, read its error and copy an attribute: without a mouse."""
    run(FAILING, relay.url)
    with open_page(browser, relay.url) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("grid").get_by_text("request").wait_for()
        focus(page, "grid")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.get_by_role("treegrid").get_by_text("lookup").wait_for()
        page.keyboard.press("/")
        page.keyboard.type("lookup")
        page.keyboard.press("Enter")
        panel = page.get_by_role("region", name="Span", exact=True)
        panel.get_by_role("heading", name="lookup").wait_for()
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")  # from the tree into the panel
        tab_to(page, "Error")
        page.keyboard.press("Enter")
        panel.get_by_text("no row with id 7").first.wait_for()
        tab_to(page, "Attributes")
        page.keyboard.press("Enter")
        panel.get_by_text("db.table").wait_for()
        tab_to(page, "Copy db.table")
        page.keyboard.press("Enter")
        page.wait_for_function("async () => (await navigator.clipboard.readText()) !== ''")
        assert "orders" in page.evaluate("() => navigator.clipboard.readText()")
        page.keyboard.press("?")
        page.get_by_role("dialog").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="hidden")


def focus(page: "Page", role: str) -> None:
    """Press Tab until something of a role has, or is around, the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("role => document.activeElement.closest(`[role=${role}]`) !== null", role):
            return
    raise AssertionError(f"Tab never reaches a {role}")


def tab_to(page: "Page", name: str) -> None:
    """Press Tab, and the arrow where that is how one moves, until something so named has the focus."""
    for _ in range(80):
        at: dict[str, Any] = page.evaluate(
            """() => {
                const at = document.activeElement;
                const name = at.getAttribute("aria-label") ?? at.textContent;
                return {name, isTab: at.getAttribute("role") === "tab"};
            }"""
        )
        if str(at["name"]).strip().startswith(name):
            return
        page.keyboard.press("ArrowRight" if at["isTab"] and name in _TABS else "Tab")
    raise AssertionError(f"no key reaches {name!r}")


_TABS = ("Error", "Attributes", "Conversation", "Events", "Links")


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_serious_violation(browser: "Browser", relay: RelayProcess, dark: bool) -> None:
    """axe-core finds nothing serious: empty page, list, each view of a trace with a panel, help."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci in lumina_stream/dashboard")
    with open_page(browser, relay.url, dark=dark) as page:
        page.get_by_role("heading").first.wait_for()
        check(page, "empty")
        run(FAILING, relay.url)
        with program(OPEN, relay.url) as process:
            assert process.stdout is not None
            process.stdout.readline()
            page.get_by_role("grid").get_by_text("waiting").wait_for()
            check(page, "list")
            page.get_by_role("grid").get_by_text("request").click()
            for view in ("waterfall", "flame", "merged", "statistics", "log"):
                page.evaluate(
                    "view => { location.hash = location.hash.split('?')[0] + '?view=' + view }",
                    view,
                )
                page.wait_for_function(f"() => document.documentElement.dataset.view === '{view}'")
                if view == "waterfall":
                    page.get_by_role("treegrid").get_by_text("answer").click()
                    page.get_by_role("tab", name="Conversation").wait_for()
                check(page, view)
            page.keyboard.press("?")
            page.get_by_role("dialog").wait_for()
            check(page, "help")
        keep(page, f"help-{'dark' if dark else 'light'}")


def check(page: "Page", what: str) -> None:
    """Fail on a serious or critical violation of accessibility."""
    page.evaluate(AXE.read_text())
    found: list[dict[str, Any]] = page.evaluate(
        "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
    )
    serious = [
        f"{what}: {one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious, "\n".join(serious)

"""gevent's monkey patches take threads away: one clear message, tracing off, and the program goes on."""

from pathlib import Path

import pytest
from support.programs import get_json, run
from support.relay_process import RelayProcess
from support.servers import ask, server

pytest.importorskip("gevent")

MESSAGE = "lumina-stream stays off: gevent has replaced threads"


@pytest.mark.parametrize("asked", ["lumina.init('green')", "pass"], ids=["init", "environment"])
def test_patched_before(relay: RelayProcess, asked: str) -> None:
    """Whether the program initialises or its environment does: said once, nothing recorded, nothing raised."""
    # breaks: lumina_stream/process.py
    # -   return monkey is not None and bool(monkey.is_module_patched("_thread"))
    # +   return False
    source = f"""
        from gevent import monkey
        monkey.patch_all()
        import gevent
        import lumina_stream as lumina

        {asked}

        @lumina.trace
        def work(n):
            with lumina.trace("inner") as span:
                span.set_attribute("n", n)
                gevent.sleep(0)
                return n

        done = gevent.joinall([gevent.spawn(work, n) for n in range(50)], timeout=30)
        print(sum(task.value for task in done), lumina.flush(), lumina.statistics().enabled)
        lumina.shutdown()
    """
    out, err = run(source, relay.url)
    assert out == "1225 True False\n"
    assert err.count("lumina") == 1 and MESSAGE in err and err.count("\n") == 1
    assert get_json(f"{relay.url}/v1/traces")["traces"] == []


def test_patched_after_init(relay: RelayProcess) -> None:
    """What was patched between `init` and the first event is found out then."""
    # breaks: lumina_stream/runtime.py
    # -   if not process.threads_are_gevents():
    # +   if True:
    source = """
        import lumina_stream as lumina
        lumina.init("green")
        from gevent import monkey
        monkey.patch_all()
        import gevent

        with lumina.trace("outer") as span:
            gevent.sleep(0)
            span.set_attribute("k", 1)
            with lumina.trace("inner"):
                pass
        print(lumina.statistics().enabled, lumina.statistics().queued)
    """
    out, err = run(source, relay.url)
    assert out == "False 0\n"
    assert err.count("lumina") == 1 and MESSAGE in err
    assert get_json(f"{relay.url}/v1/traces")["traces"] == []


def test_without_threads_patched(relay: RelayProcess) -> None:
    """`patch_all(thread=False)`, as the message advises, leaves what tracing needs; so does `export=False`."""
    source = """
        from gevent import monkey
        monkey.patch_all(thread=False)
        import gevent
        import lumina_stream as lumina

        lumina.init("green")

        def work(n):
            with lumina.trace("outer", n=n):
                gevent.sleep(0)
                with lumina.trace("inner"):
                    gevent.sleep(0)

        gevent.joinall([gevent.spawn(work, n) for n in range(20)])
        print(lumina.flush(20))
    """
    out, err = run(source, relay.url)
    assert (out, err) == ("True\n", "")
    traces = get_json(f"{relay.url}/v1/traces?limit=1000")["traces"]
    assert [(t["name"], t["state"], t["spans"]) for t in traces] == [("outer", "ok", 2)] * 20


@pytest.mark.slow
def test_gunicorn_with_gevent_workers(relay: RelayProcess, tmp_path: Path) -> None:
    """Each worker says it once, and serves."""
    pytest.importorskip("gunicorn")
    from deployments.test_web_servers import APP, GUNICORN, LISTENING

    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "application.py").write_text(APP)
    options = ("--workers", "2", "--worker-class", "gevent", "--graceful-timeout", "1")
    with server(folder, relay.url, *GUNICORN, *options, "application:wsgi") as gunicorn:
        url = gunicorn.until(LISTENING)
        gunicorn.until(MESSAGE, 2)
        ask(url, 20)
        gunicorn.stop()
    assert gunicorn.said.count(MESSAGE) == 2, gunicorn.said
    assert "Traceback" not in gunicorn.said, gunicorn.said

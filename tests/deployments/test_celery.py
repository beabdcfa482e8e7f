"""Celery's prefork pool: children of billiard, which is not multiprocessing, recycled and terminated."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import environment
from support.relay_process import RelayProcess
from support.servers import Server, Told, server, states

pytest.importorskip("celery")

APP = """
import os
from celery import Celery
import lumina_stream as lumina

lumina.init("celery")
opened = {}
with lumina.trace("load", pid=os.getpid()):
    pass
folder = os.path.join(os.path.dirname(__file__), "broker")
for name in ("in", "control"):
    os.makedirs(os.path.join(folder, name), exist_ok=True)
app = Celery("application", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": os.path.join(folder, "in"),
        "data_folder_out": os.path.join(folder, "in"),
        "control_folder": os.path.join(folder, "control"),
        "polling_interval": 0.02,
    },
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=False,
)


@app.task
def work(n, headers):
    with lumina.trace("work", parent=lumina.extract(headers), n=n, pid=os.getpid()):
        pass
    if os.getpid() not in opened:
        opened[os.getpid()] = lumina.start_span("open", root=True)
"""
SENDER = """
import sys
import lumina_stream as lumina
from application import work

with lumina.trace("batch") as batch:
    for n in range(int(sys.argv[1]), int(sys.argv[2])):
        work.delay(n, lumina.inject())
assert lumina.flush(20)
"""
COMMAND = ("celery", "-A", "application", "worker", "--pool", "prefork", "--concurrency", "2")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")
DONE = r"Task application\.work\[\S+ succeeded"


def send(folder: Path, url: str, first: int, last: int) -> None:
    """Send tasks from a program of its own."""
    variables = environment(url)
    variables["PYTHONPATH"] += f"{os.pathsep}{folder}"
    command = [sys.executable, "-c", SENDER, str(first), str(last)]
    subprocess.run(command, cwd=folder, env=variables, check=True, timeout=60)


def check(url: str, tasks: int, worker: Server, children: int) -> None:
    """Each task is there once, below the sender's span, of a producer of its own process, which said bye."""
    # Celery has threads of its own when it forks anew: Python 3.12 says so with tracing off as well.
    worker.clean(tolerated="multi-threaded")
    assert states(url, "open") == {"unended"}
    # Worker and sender both load; the sender has a span, and each child leaves one open.
    told = Told(url, "celery", 2 * 2 + 2 + 2 * tasks + children)
    assert sorted(told.attribute("work", "n")) == list(range(tasks))  # type: ignore[type-var]
    by_pid = told.by_pid("work")
    owners = [producer for producers in by_pid.values() for producer in producers]
    assert len(set(owners)) == len(owners) == len(by_pid) == children, "an id a process"
    assert not set(owners) & set(told.producers("load")), "the parent's id is not its children's"


@pytest.mark.slow
def test_prefork(relay: RelayProcess, folder: Path) -> None:
    """Children that end after some tasks, or with the worker, say bye, although they leave by `os._exit`."""
    # breaks: lumina_stream/leaving.py
    # -   celery.worker_process_shutdown.connect(leave_worker, weak=False)
    # +   pass
    options = ("--max-tasks-per-child", "3")
    # Before there is a worker: the transport's reader takes a file as soon as it has a name, written or not.
    send(folder, relay.url, 0, 20)
    with server(folder, relay.url, *COMMAND, *QUIET, *options) as worker:
        worker.until(DONE, 20)
        worker.stop()
    children = len(set(re.findall(r"ForkPoolWorker-\d+", worker.said)))
    assert children >= 6
    check(relay.url, 20, worker, children)

"""Other tracers beside ours: a span with one attribute. `emit_peers.py NAME` measures one, in a process of its own.

Each has its own pipeline, up to what would go over the network: that is replaced by nothing. Prints
JSON: the peer's version, and figures of all cases. Exit code 3: it is not installed.
"""

import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from emit_floor import BASE, Case, Reader, measure, traced, traced_async

import lumina_stream as lumina

ROUNDS = 60
exported: list[int] = []
"""How many spans came to the null exporter, call by call: that none came would be no pipeline."""


def null_exporter() -> Any:
    """Return an exporter of OpenTelemetry's that takes everything and does nothing."""
    export: Any = importlib.import_module("opentelemetry.sdk.trace.export")

    class Null(export.SpanExporter):
        def export(self, spans: Any) -> Any:
            exported.append(len(spans))
            return export.SpanExportResult.SUCCESS

    return Null()


def batching() -> Any:
    export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
    return export.BatchSpanProcessor(null_exporter())


def opentelemetry() -> Case:
    """The SDK, BatchSpanProcessor."""
    sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
    provider = sdk.TracerProvider()
    provider.add_span_processor(batching())
    start = provider.get_tracer("bench").start_as_current_span

    def case(n: int) -> None:
        for _ in range(n):
            with start("step") as span:
                span.set_attribute("k", 1)

    return case


def logfire() -> Case:
    """`logfire.span`, a BatchSpanProcessor of its own."""
    module: Any = importlib.import_module("logfire")
    module.configure(
        send_to_logfire=False, console=False, additional_span_processors=[batching()], metrics=False
    )
    start = module.span

    def case(n: int) -> None:
        for _ in range(n):
            with start("step") as span:
                span.set_attribute("k", 1)

    return case


def langfuse() -> Case:
    """`start_as_current_observation`, its own processor; the attribute is a metadata entry."""
    module: Any = importlib.import_module("langfuse")
    client = module.Langfuse(
        public_key="pk-lf-bench",
        secret_key="sk-lf-bench",
        base_url="http://127.0.0.1:9",
        span_exporter=null_exporter(),
    )
    start = client.start_as_current_observation

    def case(n: int) -> None:
        for _ in range(n):
            with start(name="step", as_type="span") as span:
                span.update(metadata={"k": 1})

    return case


def ddtrace() -> Case:
    """`tracer.trace`, its processors; a writer that drops."""
    os.environ.update(
        DD_INSTRUMENTATION_TELEMETRY_ENABLED="false", DD_REMOTE_CONFIGURATION_ENABLED="false"
    )
    tracer: Any = importlib.import_module("ddtrace.trace").tracer
    writer: Any = importlib.import_module("ddtrace.internal.writer").TraceWriter

    class Null(writer):
        def recreate(self, *args: Any, **kwargs: Any) -> Any:
            return self

        def write(self, spans: Any = None) -> None:
            return None

        def stop(self, timeout: float | None = None) -> None:
            return None

        def flush_queue(self) -> None:
            return None

    tracer._span_aggregator.writer = Null()
    start = tracer.trace

    def case(n: int) -> None:
        for _ in range(n):
            with start("step") as span:
                span.set_tag("k", 1)

    return case


def eliot() -> Case:
    """`start_action` and a message: three lines of JSON into the null device."""
    module: Any = importlib.import_module("eliot")
    module.to_file(open(os.devnull, "wb"))  # noqa: SIM115
    start, log = module.start_action, module.log_message

    def case(n: int) -> None:
        for _ in range(n):
            with start(action_type="step"):
                log("attribute", k=1)

    return case


def mlflow() -> Case:
    """`mlflow.start_span`, its OTLP path with nothing behind it."""
    os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = "http://127.0.0.1:9/v1/traces"
    os.environ["MLFLOW_EXPERIMENT_ID"] = "0"
    module: Any = importlib.import_module("mlflow")
    module.set_tracking_uri("http://127.0.0.1:9")
    provider: Any = importlib.import_module("mlflow.tracing.provider")
    provider.get_otlp_exporter = null_exporter
    start = module.start_span

    def case(n: int) -> None:
        for _ in range(n):
            with start("step") as span:
                span.set_attribute("k", 1)

    return case


def structlog() -> Case:
    """No spans: a bound context and three lines of JSON into the null device."""
    module: Any = importlib.import_module("structlog")
    module.configure(
        processors=[
            module.contextvars.merge_contextvars,
            module.processors.add_log_level,
            module.processors.TimeStamper(fmt="iso"),
            module.processors.JSONRenderer(),
        ],
        logger_factory=module.WriteLoggerFactory(open(os.devnull, "w")),  # noqa: SIM115
        cache_logger_on_first_use=True,
    )
    log, bound = module.get_logger(), module.contextvars.bound_contextvars

    def case(n: int) -> None:
        for _ in range(n):
            with bound(step="step"):
                log.info("started")
                log.info("attribute", k=1)
                log.info("ended")

    return case


PEERS: dict[str, tuple[str, Callable[[], Case]]] = {
    "OpenTelemetry SDK": ("opentelemetry-sdk", opentelemetry),
    "Logfire": ("logfire", logfire),
    "Langfuse": ("langfuse", langfuse),
    "ddtrace": ("ddtrace", ddtrace),
    "eliot": ("eliot", eliot),
    "MLflow tracing": ("mlflow-tracing", mlflow),
    "structlog, three lines": ("structlog", structlog),
}


def main() -> int:
    """Measure one peer."""
    package, make = PEERS[sys.argv[1]]
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return 3
    cases = {**BASE, "lumina": traced, "lumina, async": traced_async, "peer": make()}
    runtime = lumina.init("bench", export=False)
    runtime.queue.reading = True
    with Reader(runtime.queue):
        figures = measure(cases, ROUNDS)
    assert not lumina.statistics().lost
    print("\n" + json.dumps({"version": version, "figures": figures}), flush=True)
    os._exit(0)  # what peers do at exit is not measured here, and takes seconds


if __name__ == "__main__":
    sys.exit(main())

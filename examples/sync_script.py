"""An ordinary script without async: decorated functions, one `with` block, one failing step.

lumina-stream serve                # terminal 1
lumina-stream tail                 # terminal 2
python examples/sync_script.py     # terminal 3
"""

import time

import lumina_stream as lumina

READINGS = ["21.5", "22.0", "n/a", "20.9", "23.1"]


@lumina.trace("parse_reading", kind="task")
def parse(text: str) -> float:
    lumina.current_span().set_attribute("text", text)
    time.sleep(0.15)
    return float(text)


@lumina.trace("write_report", kind="task")
def write_report(values: list[float]) -> str:
    time.sleep(0.3)
    return f"{len(values)} readings, {sum(values) / len(values):.1f} on average"


def main() -> None:
    with lumina.trace("nightly_report", kind="task", readings=len(READINGS)) as report:
        values: list[float] = []
        for text in READINGS:
            try:
                values.append(parse(text))
            except ValueError:
                # The span of this reading shows the error, the report goes on without it.
                report.add_event("reading skipped", text=text)
        report.set_attribute("readings_used", len(values))
        print(write_report(values))


if __name__ == "__main__":
    lumina.init(service_name="nightly-report")
    main()

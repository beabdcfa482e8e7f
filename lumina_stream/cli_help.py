"""What `lumina-stream COMMAND --help` says below the options: examples, and what a person asks next."""

from lumina_stream.transport.endpoint import DEFAULT_ENDPOINT

MAIN_EPILOG = f"""\
a first look:
  lumina-stream demo                          a simulated pipeline, live in this terminal
  lumina-stream run -- python my_program.py   one program, its tree at the end

every day:
  lumina-stream serve                         the relay, at {DEFAULT_ENDPOINT}
  lumina-stream tail                          what runs now, in another terminal
"""

SERVE_EPILOG = """\
examples:
  lumina-stream serve                                    for this machine alone
  lumina-stream serve --open                             and its dashboard in the browser
  lumina-stream serve --port 0 --data /tmp/traces        any free port, another data folder
  lumina-stream serve --keep 30d --max-bytes 50GiB       keep more
  lumina-stream serve --forward http://collector:4318    and pass finished spans on
  lumina-stream serve --spool /var/lib/app/spool         and take what killed programs left there
  LUMINA_TOKEN=... lumina-stream serve --host 0.0.0.0    for a team; tokens are then required
  lumina-stream serve --host 0.0.0.0 --token-file FILE   several of them (lumina-stream token --help)

In a pipe or file the URL is the one line on stdout once it is ready; everything else goes to stderr.
OpenTelemetry programs send to its /v1/traces (OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf).
LUMINA_FORWARD_HEADERS (key=value,key2=value2) go with each request of --forward.
LUMINA_WRITE_TOKEN and LUMINA_READ_TOKEN (or LUMINA_TOKEN for both) guard sending and reading;
LUMINA_TOKEN_FILE is the variable of --token-file. With --tls-cert and --tls-key, clients say https://HOST:PORT;
LUMINA_CA_FILE names a CA of your own to them.
"""

TAIL_EPILOG = """\
examples:
  lumina-stream tail                                     the live tree
  lumina-stream tail --service my-rag-app --state running
  lumina-stream tail --name 'rag_*' --since 10m          with what came in the last ten minutes
  lumina-stream tail --json | jq 'select(.type == "span_ended" and .status == "error")'
  lumina-stream tail --until-idle > trace.log            lines, until nothing has run for a second

On a terminal it is a live tree; in a pipe or file it is lines, with --json one fact a line.
"""

RUN_EPILOG = """\
examples:
  lumina-stream run -- python my_program.py
  lumina-stream run --instrument -- python agent.py      trace openai, langgraph, httpx, ... in it
  lumina-stream run -- pytest -x
  echo question | lumina-stream run -- python ask.py > answer.txt

The program's input and output are untouched: the link and the finished tree go to stderr. The exit
code is the program's, 128 + n if signal n ended it. A relay that answers at the endpoint is used,
otherwise one runs as long as the program does.
"""

EXPORT_EPILOG = """\
examples:
  lumina-stream export --trace 4bf92f3577b34da6a3ce929d0e0e4736
  lumina-stream export --since 1h --service my-rag-app --output traces.jsonl

otlp-json is OpenTelemetry's file format: one TracesData object a line, here one trace a line. A span
that still runs has no end time.
"""

DELETE_EPILOG = """\
examples:
  lumina-stream delete 4bf92f3577b34da6a3ce929d0e0e4736
  lumina-stream delete 4bf92f3577b34da6a3ce929d0e0e4736 --url https://relay.example:4318

The ids of what was deleted are printed, one a line. It is gone from lists, views, costs and the files of the
log, and cannot be brought back; what its program still sends of it is not kept. Where tokens are set it takes
a write token, from LUMINA_WRITE_TOKEN, LUMINA_TOKEN or LUMINA_TOKEN_FILE. Backups are yours to delete.
"""

TOKEN_EPILOG = """\
examples:
  lumina-stream token write --file tokens --label "checkout service"
  lumina-stream token read --file tokens --label "the team's dashboards"
  lumina-stream serve --host 0.0.0.0 --token-file tokens
  LUMINA_WRITE_TOKEN=$(lumina-stream token write --file tokens --label ci) python my_program.py

A write token sends, and deletes; a read token sees. A token file has a line a token (kind, token, label) and
mode 0600; a relay looks at it once a second. To rotate, add a token, let its users change over, and take the
old line away: who comes with it is refused from then on, and browser sessions begun with it end. Programs
and commands take their token from LUMINA_WRITE_TOKEN or LUMINA_READ_TOKEN, LUMINA_TOKEN, or the first line of
its kind in the file that LUMINA_TOKEN_FILE names.
"""

CHECK_EPILOG = """\
Every frame is read and its checksum compared, each producer's seqs are followed, and each trace must
be in the index. Nothing is changed, and a relay may run meanwhile. The exit code is 0 if all that was
acknowledged can be shown, 1 if not.
"""

BACKUP_EPILOG = """\
examples:
  lumina-stream backup /mnt/backup/traces-monday
  lumina-stream backup /tmp/copy --data /var/lib/lumina && lumina-stream serve --data /tmp/copy

The copy holds everything that was acknowledged when the command began. A relay may run meanwhile.
"""

SPOOL_EPILOG = """\
A program that was given a folder, by init(spool_dir=DIR) or LUMINA_SPOOL_DIR, keeps there what a relay has
not stored yet. If it is killed, its next start delivers that, or `serve --spool DIR`, or `spool send DIR`.

examples:
  lumina-stream spool show /var/lib/app/spool
  lumina-stream spool show /var/lib/app/spool --json | jq .events
  lumina-stream spool send /var/lib/app/spool --url http://relay:4318

The relay's token is taken from LUMINA_WRITE_TOKEN, LUMINA_TOKEN or LUMINA_TOKEN_FILE.
"""

DEMO_EPILOG = """\
Nothing is installed, called or kept: the pipeline sleeps where a real one would wait, its relay runs
on a free port with a temporary folder. On a desktop the dashboard opens beside the live tree, and the
relay stays until Ctrl-C, so that you can look around; elsewhere both end by themselves.
"""

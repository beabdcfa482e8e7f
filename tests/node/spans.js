// One trace through OpenTelemetry's SDK for Node.js, exported by OTLP/HTTP: `node spans.js http|proto [gzip]`.
// Where to, the environment says, as it does for any program that uses these exporters.
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as Json } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as Protobuf } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [encoding, compression = "none"] = process.argv.slice(2);
const exporter = new { http: Json, proto: Protobuf }[encoding]({ compression });
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": `node-${encoding}-${compression}`, "service.version": "1.2.3" }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer("node-tracer", "4.5.6");

const root = tracer.startSpan("GET /ask", {
  kind: SpanKind.SERVER,
  attributes: { "http.request.method": "GET", flag: true, ratio: 0.5, words: ["one", "two"], count: 3, text: "ä€😀" },
});
const inside = trace.setSpan(ROOT_CONTEXT, root);
const call = tracer.startSpan("chat gpt-4o-mini", {
  kind: SpanKind.CLIENT,
  attributes: {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 500,
  },
}, inside);
call.addEvent("first token", { index: 0 });
call.end();
const failed = tracer.startSpan("tool", { links: [{ context: call.spanContext(), attributes: { why: "asked" } }] }, inside);
failed.recordException(new TypeError("no battery"));
failed.setStatus({ code: SpanStatusCode.ERROR, message: "no battery" });
failed.end();
root.setStatus({ code: SpanStatusCode.OK });
root.end();
await provider.shutdown();
console.log(root.spanContext().traceId);

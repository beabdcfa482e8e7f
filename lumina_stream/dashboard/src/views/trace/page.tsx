// The trace page.

export function TracePage({ traceId }: { traceId: string }) {
  return <main>{traceId}</main>;
}

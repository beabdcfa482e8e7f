// The frame around every page: which one is shown is the address' decision.

import { useAtom } from "../state/atom";
import { route } from "../state/route";
import { TracePage } from "./trace/page";

export function App() {
  const at = useAtom(route);
  return at.page === "trace" ? <TracePage key={at.traceId} traceId={at.traceId} /> : <main />;
}

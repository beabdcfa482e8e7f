// The frame around every page: which one is shown is the address' decision.

import { useAtom } from "../state/atom";
import { go, route } from "../state/route";
import { Notice } from "./empty";
import { Header } from "./header";
import { ListPage } from "./list";
import { TracePage } from "./trace/page";
import "./shell.css";
import "./list.css";

export function App() {
  const at = useAtom(route);
  return (
    <div class="app">
      <Header />
      {at.page === "trace" && <TracePage key={at.traceId} traceId={at.traceId} />}
      {at.page === "list" && <ListPage q={at.q} />}
      {at.page === "unknown" && <Unknown />}
    </div>
  );
}

function Unknown() {
  const back = () => go({ page: "list", q: "" });
  return (
    <main>
      <Notice
        title="Nothing is at this address."
        action={
          <button type="button" class="bordered" onClick={back}>
            Show all traces
          </button>
        }
      />
    </main>
  );
}

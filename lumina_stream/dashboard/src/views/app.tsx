// The frame around every page: which one is shown is the address' decision.

import { needsToken } from "../net/api";
import { useAtom } from "../state/atom";
import { go, route } from "../state/route";
import type { Route } from "../state/route";
import { Notice } from "./empty";
import { Header } from "./header";
import { ListPage } from "./list";
import { TokenForm } from "./token";
import { TracePage } from "./trace/page";
import "./shell.css";
import "./list.css";

export function App() {
  const at = useAtom(route);
  const isClosed = useAtom(needsToken);
  return (
    <div class="app">
      <Header />
      {isClosed ? <TokenForm /> : <Page at={at} />}
    </div>
  );
}

function Page({ at }: { at: Route }) {
  if (at.page === "trace") return <TracePage key={at.traceId} traceId={at.traceId} />;
  return at.page === "list" ? <ListPage q={at.q} /> : <Unknown />;
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

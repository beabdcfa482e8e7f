// How the page and the relay are connected, said in the header by whichever page is shown.

import { useEffect } from "preact/hooks";

import { Atom, useAtom } from "../state/atom";

export type LinkStatus = "loading" | "live" | "reconnecting" | "missing" | "refused";
export type Link = { status: Atom<LinkStatus>; behind: Atom<number> };

const shown = new Atom<Link | null>(null);

/** Let the header show this page's connection while the calling component is there. */
export function useConnection(link: Link): void {
  useEffect(() => {
    shown.set(link);
    return () => {
      if (shown.get() === link) shown.set(null);
    };
  }, [link]);
}

/** Say it from here on where a page is behind; a handful of events is behind nobody's eyes. */
const BEHIND_LEAST = 100;

export function Connection() {
  const link = useAtom(shown);
  return link && <Shown link={link} />;
}

function Shown({ link }: { link: Link }) {
  const status = useAtom(link.status);
  const behind = useAtom(link.behind);
  const isBehind = status === "live" && behind >= BEHIND_LEAST;
  const said = isBehind ? `Behind by ${behind.toLocaleString("en")} events` : SAID[status];
  return (
    <span class={`connection connection-${isBehind ? "behind" : status}`}>
      <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
        <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.5" />
        {status === "live" && <circle cx="6" cy="6" r="4" fill="currentColor" />}
        {isBehind && <path d="M6 2a4 4 0 0 1 0 8z" fill="var(--background)" />}
      </svg>
      {/* What changes twice a second is not read out each time. */}
      <span role={isBehind ? undefined : "status"}>{said}</span>
    </span>
  );
}

const SAID: Record<LinkStatus, string> = {
  loading: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  missing: "Live",
  refused: "Not allowed",
};

// The line at the top of every page: name, filter, connection, theme, help.

import { Connection } from "./connection";
import { FilterBox, listHref } from "./filter_box";
import { Help } from "./help";
import { Theme } from "./theme";
import { useAtom } from "../state/atom";
import { route } from "../state/route";

export function Header() {
  const { page } = useAtom(route);
  return (
    <header class="header">
      <a class="name" href={listHref()} aria-current={page === "list" ? "page" : undefined}>
        <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
          <rect x="1" y="2" width="14" height="3" rx="1" fill="var(--kind-agent)" />
          <rect x="3" y="6.5" width="7" height="3" rx="1" fill="var(--kind-retrieval)" />
          <rect x="8" y="11" width="7" height="3" rx="1" fill="var(--kind-llm)" />
        </svg>
        <span>lumina-stream</span>
      </a>
      <FilterBox />
      <span class="space" />
      <Connection />
      <Theme />
      <Help />
    </header>
  );
}

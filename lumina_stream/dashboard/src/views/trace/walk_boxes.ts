// The arrow keys in the flame graphs: up to the parent, down to the first child, left and right to the
// siblings.

import { NONE } from "../../model/tree";
import type { Sight } from "./sight";
import { select, showTime } from "./walk";

export function moveBox(sight: Sight, key: string): void {
  const { tree } = sight;
  tree.settle();
  const from = sight.span;
  const to = from === NONE ? tree.firstRoot : next(sight, from, key);
  if (to === NONE) return;
  select(sight, tree.id(to));
  sight.letGo();
  showTime(sight, to);
  sight.touch();
}

function next({ tree }: Sight, i: number, key: string): number {
  switch (key) {
    case "ArrowUp":
      return tree.parent[i];
    case "ArrowDown":
      return tree.firstChild[i];
    case "ArrowLeft":
      return tree.prevSibling[i];
    default:
      return tree.nextSibling[i];
  }
}

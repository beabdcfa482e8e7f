// Which path is shown: the critical one of a finished trace, the way to what is waited for of a live
// one.

import { criticalPath, oldestOpenLeaf, pathTo } from "../../model/critical";
import type { Path } from "../../model/critical";
import type { Clock } from "../../model/times";
import type { Tree } from "../../model/tree";

export function pathOf(tree: Tree, clock: Clock): Path {
  tree.settle();
  if (tree.openCount === 0) return criticalPath(tree, tree.root, clock);
  return pathTo(tree, oldestOpenLeaf(tree, tree.unended()), { ...clock, now: Infinity });
}

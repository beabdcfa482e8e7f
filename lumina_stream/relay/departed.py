"""Trees that have left the memory, until nobody looks at them any more.

Spans refer to their parents and children, so a tree that is merely forgotten stays until the garbage
collector comes by, which in a relay is seldom (see `serve.GC_THRESHOLD`): at 10,000 events a second it
would hold a hundred megabytes of them. Here the circles are cut as soon as the tree is referred to from
nowhere else: a viewer may still be reading it.
"""

import sys

from lumina_stream.model.tree import TraceTree

MANY = 64
"""Trees that wait before they are looked at."""
_ALONE = 2  # references to a tree of which nobody knows: the variable, and the question


class Departed:
    """Cut up the trees that leave."""

    def __init__(self) -> None:
        self._trees: dict[int, TraceTree] = {}  # by identity: one may come back, and leave again
        self._many = MANY

    def __len__(self) -> int:
        return len(self._trees)

    def add(self, tree: TraceTree) -> None:
        """Take a tree that was dropped everywhere else."""
        self._trees[id(tree)] = tree
        if len(self._trees) >= self._many:
            self.sweep()
            # Those that somebody looks at must not be asked again for each one that leaves.
            self._many = max(MANY, 2 * len(self._trees))

    def sweep(self) -> None:
        """Cut up the trees that nobody else has."""
        trees, self._trees = self._trees, {}
        while trees:
            key, tree = trees.popitem()
            if sys.getrefcount(tree) > _ALONE:
                self._trees[key] = tree
            else:
                tree.dissolve()

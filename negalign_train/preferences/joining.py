"""Names that belong together, link by link (union-find)."""

from __future__ import annotations

from collections import defaultdict

Node = tuple[str, str]
"""What a name is of, and the name: ``("case", "openi-7")``."""


class Joined:
    """``join`` links two nodes; ``find`` returns the same node for all nodes that are linked."""

    def __init__(self) -> None:
        self._parents: dict[Node, Node] = {}

    def find(self, node: Node) -> Node:
        """The node that stands for ``node``'s component."""
        parents = self._parents
        parents.setdefault(node, node)
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    def join(self, left: Node, right: Node) -> None:
        self._parents[self.find(left)] = self.find(right)

    def components(self, kind: str) -> list[list[str]]:
        """The names of one kind, by component, sorted."""
        names: dict[Node, list[str]] = defaultdict(list)
        for node in sorted(self._parents):
            if node[0] == kind:
                names[self.find(node)].append(node[1])
        return list(names.values())

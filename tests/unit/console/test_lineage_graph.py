from __future__ import annotations

from collections.abc import Iterable

import pytest

from raymlops.console.lineage_graph import Edge, Node, neighbourhood
from raymlops.errors import NotFoundError

A, B, C, D = (Node("run", name) for name in "abcd")


def chain(node: Node) -> Iterable[Edge]:
    edges = [Edge(A, B), Edge(B, C), Edge(C, D)]
    return [edge for edge in edges if node in edge]


def test_it_goes_as_far_as_it_is_told() -> None:
    one = neighbourhood(A, 1, chain)
    assert (one.nodes, one.edges, one.cut) == ([A, B], [Edge(A, B)], False)
    assert neighbourhood(A, 2, chain).nodes == [A, B, C]
    assert neighbourhood(B, 1, chain).nodes == [B, A, C]
    assert neighbourhood(A, 9, chain).edges == [Edge(A, B), Edge(B, C), Edge(C, D)]


def test_a_circle_ends() -> None:
    found = neighbourhood(A, 5, lambda node: [Edge(A, B), Edge(B, A)])
    assert found.nodes == [A, B]


def test_what_is_gone_is_left_out_unless_it_was_asked_about() -> None:
    def gone(node: Node) -> list[Edge]:
        if node == B:
            raise NotFoundError("b is gone")
        return [Edge(A, B)]

    assert neighbourhood(A, 3, gone).nodes == [A, B]
    with pytest.raises(NotFoundError):
        neighbourhood(B, 3, gone)


def test_a_crowd_is_cut() -> None:
    def crowd(node: Node) -> list[Edge]:
        return [Edge(node, Node("run", f"{node.name}-{number}")) for number in range(100)]

    found = neighbourhood(A, 3, crowd)
    assert found.cut
    assert len(found.nodes) == 60
    assert all(edge.source in found.nodes and edge.target in found.nodes for edge in found.edges)

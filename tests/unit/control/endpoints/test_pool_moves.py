"""Models that should leave the pool are moved one by one, and one that cannot be moved is tried again later."""

from __future__ import annotations

import threading
from typing import Any

from raymlops.control.endpoints.pool_moves import PoolMoves
from raymlops.errors import UnavailableError
from raymlops.records.serving.orders import Order

DEADLINE_S = 20.0


class World:
    """Who should leave, and what becomes of the moves."""

    def __init__(self) -> None:
        self.leaving = {"a": "it is slow"}
        self.orders: list[tuple[str, Order]] = []
        self.ended = threading.Event()
        self.hang = threading.Event()
        self.hanging: set[str] = set()
        self.error: Exception | None = None

    def to_move_out(self) -> dict[str, str]:
        return self.leaving

    def move_out(self, order: Order, name: str) -> Any:
        self.orders.append((name, order))
        if name in self.hanging:
            assert self.hang.wait(DEADLINE_S)
        self.ended.set()
        if self.error is not None:
            raise self.error


def settled(moves: PoolMoves) -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("move-"):
            thread.join(DEADLINE_S)
    assert not moves._moving


def test_a_move_says_who_asked_and_why() -> None:
    world = World()
    moves = PoolMoves(world, world)
    assert moves.turn() == ["a"]
    settled(moves)
    ((name, order),) = world.orders
    assert (name, order.by, order.reason) == ("a", "reconciler", "moved out of the pool: it is slow")


def test_what_fails_is_tried_again_later_and_what_is_done_is_forgotten() -> None:
    world, now = World(), [0.0]
    world.error = UnavailableError("plan 2 of a does not fit")
    moves = PoolMoves(world, world, lambda: now[0])
    begun = []
    for _ in range(20):
        begun.append(bool(moves.turn()))
        settled(moves)
        now[0] += 1.0
    assert [second for second, one in enumerate(begun) if one] == [0, 2, 6, 14]
    world.leaving = {}
    assert moves.turn() == []
    world.leaving = {"a": "it is slow again"}
    assert moves.turn() == ["a"]
    settled(moves)


def test_a_move_that_hangs_is_begun_once_and_keeps_no_other_waiting() -> None:
    world, now = World(), [0.0]
    world.leaving = {"a": "it is slow", "b": "it leaks"}
    world.hanging = {"a"}
    moves = PoolMoves(world, world, lambda: now[0])
    assert moves.turn() == ["a", "b"]
    assert world.ended.wait(DEADLINE_S)
    now[0] += 1000.0
    assert "a" not in moves.turn()
    world.hang.set()
    settled(moves)
    assert [name for name, _ in world.orders].count("a") == 1

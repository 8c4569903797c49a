"""Routing between champion and candidate: a key is routed alike on every replica, and after a restart."""

from __future__ import annotations

from hashlib import blake2b

from raymlops.records.plans import Role, ServingPlan

__all__ = ["choose", "fraction"]

_BITS = 53
"""Bits of a digest that a float holds exactly: more would let a digest round up to 1."""


def fraction(key: str, salt: str) -> float:
    """A number in [0, 1) that looks uniform over keys and is the same everywhere."""
    digest = blake2b(f"{salt}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    bits = int.from_bytes(digest, "big") >> (64 - _BITS)
    return bits / float(1 << _BITS)


def choose(plan: ServingPlan, key: str) -> Role:
    """The role of a request under a plan.

    Callers are drawn anew for each trialled version, and a growing weight keeps those already drawn.

    Args:
        plan: What is served.
        key: The sticky key, or the request id where none was sent.

    Returns:
        ``canary``: the candidate answers. ``shadow``: the champion answers and the candidate sees a copy. Otherwise
        ``champion``.
    """
    trial = plan.trial
    if trial is None or fraction(key, f"{plan.model}:{trial.version}") >= trial.weight:
        return "champion"
    return trial.mode

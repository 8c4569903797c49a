"""Addresses; what stores do is in the contract suite."""

from __future__ import annotations

from raymlops.features.online.online_store import NOWHERE, address


def test_addresses_differ() -> None:
    found = {address(view, key) for view in ("v@1", "v@11", "w@1") for key in (b"", b"a", b"\x00", b"1\x00a")}
    assert len(found) == 12
    assert NOWHERE not in found

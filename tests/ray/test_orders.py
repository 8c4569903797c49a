"""Who gives an order, where the machine has no name for its user, as in a container."""

from __future__ import annotations

import getpass
import os

import pytest

from raymlops.runtime.serve import endpoint_orders


def test_a_user_without_a_name_can_give_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert endpoint_orders._order("on demand").by == f"uid {os.getuid()}"

from __future__ import annotations

import pytest
from pydantic import ValidationError

from raymlops.config.serving import ServingConfig


def test_there_is_no_grpc_port_unless_asked_for() -> None:
    assert ServingConfig().grpc_port is None
    assert ServingConfig(grpc_port=8001).grpc_port == 8001


def test_two_ports_are_two() -> None:
    with pytest.raises(ValidationError, match="grpc_port must not be port, got 8000"):
        ServingConfig(port=8000, grpc_port=8000)


def test_the_room_for_bodies_holds_one() -> None:
    with pytest.raises(
        ValidationError, match="bodies_limit_bytes must be at least body_limit_bytes, got 2048 and 4096"
    ):
        ServingConfig(bodies_limit_bytes=2048, body_limit_bytes=4096)

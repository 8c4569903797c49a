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

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


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("10.1.2.3", "http://10.1.2.3:8000"),
        ("::", "http://[::1]:8000"),
        ("[::]", "http://[::1]:8000"),
        ("fe80::1", "http://[fe80::1]:8000"),
        ("[::1]", "http://[::1]:8000"),
        ("head.example", "http://head.example:8000"),
    ],
)
def test_callers_of_the_same_machine_reach_whatever_the_port_is_bound_to(host: str, url: str) -> None:
    assert ServingConfig(host=host).local_url == url

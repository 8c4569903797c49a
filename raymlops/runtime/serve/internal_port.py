"""Keeps Serve's replicas from opening the port on which they take calls of other replicas.

Ray 2.60 opens it in every replica, on all interfaces and without a token, and unpickles what it is sent: whoever
reaches it runs code as the platform's user. A cluster that ``raymlops up`` starts has calls between replicas go through
Ray's own ports, which ask for the token, so that it is not needed.
"""

from __future__ import annotations

import os

from ray.serve._private import replica

__all__ = ["close_internal_port"]

_SETTING = "RAY_SERVE_USE_GRPC_BY_DEFAULT"


def close_internal_port() -> None:
    """Have the replica in this process open no such port; nothing on a cluster whose handles use it."""
    if os.environ.get(_SETTING) == "0":
        replica.add_port_to_grpc_server = _open_nothing


def _open_nothing(server: object, address: str) -> int:
    """Stand in for what adds an address to a gRPC server; the server then listens nowhere."""
    del server, address
    return 0

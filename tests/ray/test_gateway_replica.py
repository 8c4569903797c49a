"""What the gateway is put together from. Starts no cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raymlops.config.platform import PlatformConfig
from raymlops.runtime.serve.endpoint_orders import reconciler_timeout_s
from raymlops.runtime.serve.gateway import gateway_replica
from raymlops.runtime.serve.gateway.gateway_replica import GatewayReplica


class MadeError(Exception):
    """Ends the making of the gateway."""


@pytest.mark.asyncio
async def test_an_order_is_waited_for_until_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, given = PlatformConfig(home=tmp_path), []

    def operations(records: object, operator: Any, deadline_s: float, *_: object, **__: object) -> None:
        given.extend([operator._timeout_s, deadline_s])
        raise MadeError

    async def required(config: PlatformConfig) -> bool:
        return False

    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="r"))
    monkeypatch.setattr(gateway_replica.serve, "get_replica_context", lambda: context)
    monkeypatch.setattr(gateway_replica, "metadata_stores", lambda **_: SimpleNamespace(deployments=None))
    monkeypatch.setattr(gateway_replica, "keys_required", required)
    monkeypatch.setattr(gateway_replica, "Operations", operations)
    monkeypatch.delattr(GatewayReplica, "__del__")  # it is awaited by Serve, and here by nobody
    with pytest.raises(MadeError):
        await GatewayReplica.__init__(GatewayReplica.__new__(GatewayReplica), config)
    assert given == [reconciler_timeout_s(config)] * 2

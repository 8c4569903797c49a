"""API keys from the command line to a replica that asks for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
import requests

from raymlops.config.reading.loader import load_config
from raymlops.errors import ConfigError, NotFoundError
from raymlops.metadata import MetadataService
from raymlops.serving.front import open_inference_pb2 as pb

if TYPE_CHECKING:
    from raymlops.platform import Platform

pytestmark = pytest.mark.ray

DEADLINE_S = 20.0


def status_becomes(url: str, key: str, wanted: int) -> requests.Response:
    """The first answer of that status; a replica knows a change within a poll."""
    deadline = time.monotonic() + DEADLINE_S
    tensor = {"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [1.0, 2.0]}
    while True:
        headers = {"Authorization": f"Bearer {key}"}
        answer = requests.post(f"{url}/infer", json={"inputs": [tensor]}, headers=headers, timeout=10)
        if answer.status_code == wanted or time.monotonic() > deadline:
            assert answer.status_code == wanted, answer.text
            return answer


def over_grpc(platform: Platform, key: str) -> grpc.StatusCode:
    message = pb.ModelInferRequest(model_name="guarded", raw_input_contents=[np.array([1.0, 2.0]).tobytes()])
    message.inputs.add(name="features", datatype="FP64", shape=[1, 2])
    with grpc.insecure_channel(f"127.0.0.1:{platform.config.serving.grpc_port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = call.future(message.SerializeToString(), timeout=20, metadata=[("authorization", f"Bearer {key}")])
        answer.exception()
        return answer.code()


def test_a_key_opens_an_endpoint_until_it_is_revoked(platform: Platform, command: Callable[..., Any]) -> None:
    keys = partial(command, "keys")
    from ray import serve
    from sklearn.linear_model import LinearRegression

    from raymlops.runtime.serve.replicas.model_replica import model_application

    rows = np.random.default_rng(0).normal(size=(50, 2))
    example = pa.table({name: [0.1, -0.2] for name in "ab"})
    version = platform.models.register("guarded", LinearRegression().fit(rows, rows.sum(axis=1)), example=example)
    serving = platform.config.serving.model_copy(update={"require_keys": True})
    config = platform.config.model_copy(update={"serving": serving})
    platform.endpoints.deploy("guarded", version.version)
    # in place of what was deployed: as it would be where strangers may call
    serve.run(model_application(config, "guarded", 1), name="model-guarded", route_prefix="/v2/models/guarded")
    url = f"{platform.url}/v2/models/guarded"
    assert requests.get(f"{url}/plan", timeout=10).status_code == 401
    made = keys("create", "caller", "--scope", "infer")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    answer = status_becomes(url, key, 200).json()
    assert answer["outputs"][0]["data"] == pytest.approx([3.0])
    assert over_grpc(platform, key) is grpc.StatusCode.OK
    assert over_grpc(platform, key[:-1]) is grpc.StatusCode.UNAUTHENTICATED
    listed = keys("list", "--json")
    assert key.split("_")[1] in listed.stdout
    assert key.split("_", 2)[2] not in listed.stdout
    assert keys("revoke", key.split("_")[1]).returncode == 0
    status_becomes(url, key, 401)
    wrong = keys("create", "caller", "--scope", "root")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    platform.endpoints.undeploy("guarded")


def test_strangers_are_not_served_without_keys(tmp_path: Path) -> None:
    from raymlops.runtime.serve.keys import create_key, require_keys, revoke_key

    config = load_config(environ={}, overrides={"home": str(tmp_path), "serving": {"host": "0.0.0.0"}})
    local = load_config(environ={}, overrides={"home": str(tmp_path)})
    require_keys(local)
    with pytest.raises(ConfigError, match=r"serving on 10\.0\.0\.1 needs an API key"):
        require_keys(local, "10.0.0.1")  # where a Serve that somebody else started is bound to
    with pytest.raises(ConfigError, match=r"serving on 0\.0\.0\.0 needs an API key"):
        require_keys(config)
    key, _ = create_key(config, "caller", ["infer"])
    require_keys(config)
    revoke_key(config, key.id, "it leaked")
    with pytest.raises(ConfigError):
        require_keys(config)
    revoke_key(config, key.id)  # once is enough
    with pytest.raises(NotFoundError):
        revoke_key(config, "0" * 12)
    with closing(MetadataService(config.metadata_url)) as metadata:
        told = [(entry.subject, entry.action, entry.reason) for entry in metadata.ledger.entries()]
    assert told == [(f"key:{key.id}", "create_key", "on demand"), (f"key:{key.id}", "revoke_key", "it leaked")]

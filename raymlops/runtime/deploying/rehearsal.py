"""Asking a registered version over HTTP, as callers would, before it is put in service."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from raymlops.config.delivery import EnvironmentRules
from raymlops.config.platform import PlatformConfig
from raymlops.delivery.load_test import Load, LoadReport, run_load_test
from raymlops.errors import DeploymentError
from raymlops.features.offline.feature_files import FeatureFiles
from raymlops.metadata import Metadata
from raymlops.records.bundles import ProjectSpec
from raymlops.records.delivering.environments import rehearsal_name
from raymlops.records.models import ModelState, ModelVersion
from raymlops.records.serving.keys import Grant
from raymlops.records.serving.orders import Order
from raymlops.runtime.nodes.feature_writer import feature_writer
from raymlops.runtime.nodes.online_views import materialise_lost
from raymlops.runtime.serve.endpoint_orders import EndpointOrders
from raymlops.runtime.serve.keys import create_key, revoke_key
from raymlops.serving.models.example import example_request
from raymlops.serving.models.model_files import load_checked

__all__ = ["Rehearsal"]

_INSTANCES = 64
"""Newest rows of the training set that are asked about."""
_ASK_S = 30.0
_KEY_LASTS = timedelta(hours=1)
"""What comes before the load test may take so long."""
_MATERIALISE_S = 600.0
"""Deadline of bringing one view into the online store: it may be large."""
_WHY = "asked before it is put in service"


class Rehearsal:
    """Serves versions under a name of their own for as long as they are asked; nothing that is served is touched.

    Args:
        config: The platform's configuration.
        metadata: Versions.
        endpoints: Has them served.
    """

    def __init__(self, config: PlatformConfig, metadata: Metadata, endpoints: EndpointOrders) -> None:
        self._config = config
        self._metadata = metadata
        self._endpoints = endpoints

    def ask(
        self, version: ModelVersion, project: ProjectSpec, service: str | None, rules: EnvironmentRules, order: Order
    ) -> LoadReport | None:
        """Serve a version, ask it for what is expected of it, then at the rate of the environment.

        Args:
            version: What is to be served.
            project: Names the columns of a request.
            service: Feature service that is joined.
            rules: Of the environment.
            order: By which it is served for as long as it is asked.

        Returns:
            How it answered; ``None`` where the rules name no rate.

        Raises:
            DeploymentError: It does not come up, answers wrongly, or is too slow.
        """
        instances = [] if service is None else self._instances(version, project, service)
        with (
            self._headers(version, rules) as headers,
            self._served(version, service, order) as url,
        ):  # which knows the keys of its start
            self._expect(version, url, headers)
            bodies = [orjson.dumps({"instances": [instance]}) for instance in instances]
            path = f"{url}/predict"
            if not bodies:
                path, bodies = f"{url}/infer", [self._example(version)[0]]
            _post(path, bodies[0], headers)
            if rules.rate_per_s is None or rules.p99 is None:
                return None
            load = Load(rules.rate_per_s, rules.p99.total_seconds(), rules.load_for.total_seconds())
            report = asyncio.run(run_load_test(path, bodies, load, headers))
        report.require(load)
        return report

    @contextmanager
    def _served(self, version: ModelVersion, service: str | None, order: Order) -> Iterator[str]:
        """The version, served under the name of a rehearsal; gives the address of that model."""
        name = rehearsal_name(version.name)
        fresh = {"version": 0, "state": ModelState.CANDIDATE, "mlflow_uri": None}
        draft = version.model_copy(update={"name": name, **fresh})
        copy = self._metadata.models.register_version(draft, key=f"{version.name}/{version.version}")
        present = self._metadata.plans.find_plan(version.name)
        replicas = present.replicas if present is not None and present.served else None
        try:
            plan = self._endpoints.serve(order, name, copy.version, features=service, replicas=replicas)
            # of views that came with the bundle
            materialise_lost([plan], partial(feature_writer, self._config, timeout_s=_MATERIALISE_S))
            yield f"{self._config.serving.local_url}/v2/models/{name}"
        finally:
            current = self._metadata.plans.find_plan(name)
            if current is not None and current.served:
                self._endpoints.undeploy(name, reason="the rehearsal is over")

    @contextmanager
    def _headers(self, version: ModelVersion, rules: EnvironmentRules) -> Iterator[Mapping[str, str]]:
        """What a request needs; a key for this rehearsal alone where callers need one.

        The key expires by itself: a rehearsal that is killed revokes nothing.
        """
        if not self._config.serving.keys_required_on(self._config.serving.host):
            yield {}
            return
        grant = Grant(scope="infer", target=rehearsal_name(version.name))
        key, text = create_key(
            self._config, "rehearsal", [], _WHY, grants=[grant], expires_after=_KEY_LASTS + rules.load_for
        )
        try:
            yield {"Authorization": f"Bearer {text}"}
        finally:
            revoke_key(self._config, key.id, "the rehearsal is over")

    def _expect(self, version: ModelVersion, url: str, headers: Mapping[str, str]) -> None:
        """Ask for the packaged example, and hold the answer against what the model gave when it was packaged."""
        body, agrees = self._example(version)
        said = _post(f"{url}/infer", body, headers)
        outputs = {
            each["name"]: np.array(each["data"], dtype=np.float64).reshape(each["shape"])
            for each in said["outputs"]
            if each["name"] != "label"  # which follows from the numbers
        }
        if not agrees(outputs):
            raise DeploymentError(
                f"version {version.version} of {version.name}: answers its example over HTTP otherwise than when it "
                "was packaged"
            )

    def _example(self, version: ModelVersion) -> tuple[bytes, Any]:
        model, parity = load_checked(Path(version.path), version.manifest, version.digest)
        return example_request(model.schema, parity.columns), parity.agrees

    def _instances(self, version: ModelVersion, project: ProjectSpec, service: str) -> list[dict[str, Any]]:
        """Newest rows of what the version was trained on, as callers would ask about them."""
        if version.training_set is None:
            return []
        files = FeatureFiles.at(self._config.feature_place(version.environment))
        spine = files.training_sets.spine(files.training_sets.manifest(version.training_set))
        joined = files.state().resolve(service)
        asked = {name for each in joined.views for name in each.view.join_columns} | set(project.request_columns)
        asked |= {name for each in joined.on_demand for name in each.request_inputs}
        names = [name for name in spine.column_names if name in asked]
        rows = spine.select(names).slice(max(0, spine.num_rows - _INSTANCES)).to_pylist()
        return [{name: _plain(value) for name, value in row.items() if value is not None} for row in rows]


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime | date) else value


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """One request of the platform's own endpoint.

    Raises:
        DeploymentError: The answer is not 200.
    """
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})  # noqa: S310 - http
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is this machine's own
    try:
        with direct.open(request, timeout=_ASK_S) as response:
            said: dict[str, Any] = orjson.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            told = error.read(300).decode(errors="replace")
        raise DeploymentError(f"the service answered an expected request with {error.code}: {told}") from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise DeploymentError(f"the service did not answer an expected request: {error}") from error
    return said

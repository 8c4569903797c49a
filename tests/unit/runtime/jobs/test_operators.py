"""What is deployed where, as users are told."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from raymlops.clock import ManualClock
from raymlops.config.platform import PlatformConfig
from raymlops.errors import ConfigError
from raymlops.metadata import MetadataService
from raymlops.records.bundles import Deployment
from raymlops.runtime.jobs.delivery_operator import DeliveryOperator
from raymlops.runtime.jobs.operators import RunOperator
from raymlops.testing.metadata_examples import EPOCH, example_bundle


def test_environments_of_any_name_are_told(tmp_path: Path) -> None:
    clock = ManualClock(EPOCH)
    with closing(MetadataService(tmp_path / "metadata.db", clock=clock)) as metadata:
        bundle = metadata.deployments.put_bundle(example_bundle())
        for name in ("qa", "dev"):
            metadata.deployments.put_deployment(Deployment(environment=name, bundle=bundle.digest, at=EPOCH))
        told = DeliveryOperator(PlatformConfig(home=tmp_path), metadata, clock).environments()
    assert [deployment.environment for deployment in told] == ["dev", "qa"]


def test_a_pipeline_runs_no_bundle_of_another(tmp_path: Path) -> None:
    clock = ManualClock(EPOCH)
    with closing(MetadataService(tmp_path / "metadata.db", clock=clock)) as metadata:
        bundle = metadata.deployments.put_bundle(example_bundle())
        operator = RunOperator(PlatformConfig(home=tmp_path), metadata, cast("Any", None), clock)
        with pytest.raises(ConfigError, match=f"'prod.other' cannot run bundle {bundle.digest}, which is one of "):
            operator.start("prod.other", bundle=bundle.digest)
        assert metadata.runs.list_runs() == []
        assert metadata.ledger.entries() == []

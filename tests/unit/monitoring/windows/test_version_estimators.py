from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.monitoring import HOLDOUT_FILE, Holdout
from raymlops.monitoring.windows.version_files import KEPT, VersionFiles


def holdout() -> bytes:
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    return Holdout.fit("binary", pa.table({"x": x}), rng.random(300), (rng.random(300) < 0.5).astype(float)).dumps()


def test_each_version_has_its_own_and_keeps_it(world: Any) -> None:
    versions = [world.register(number) for number in range(1, KEPT + 3)]
    for number in range(2, KEPT + 3):
        (world.home / str(number) / HOLDOUT_FILE).write_bytes(holdout())
    estimators = VersionFiles(world.metadata.models)
    found, problems = estimators.estimators(versions[:3])
    assert sorted(found) == [2, 3]  # version 1 has no holdout, which is no fault
    assert problems == ()
    assert estimators.estimators(versions[:3])[0][2] is found[2]
    estimators.estimators(versions[3:])
    assert estimators.estimators([versions[1]])[0][2] is not found[2], "only a few are kept"


def test_a_broken_holdout_is_said_and_read_again(world: Any) -> None:
    version = world.register(1)
    path = world.home / "1" / HOLDOUT_FILE
    path.write_bytes(holdout()[:50])
    estimators = VersionFiles(world.metadata.models)
    found, problems = estimators.estimators([version])
    assert found == {}
    assert "the holdout of version 1 cannot be read" in problems[0]
    path.write_bytes(holdout())
    assert list(estimators.estimators([version])[0]) == [1]

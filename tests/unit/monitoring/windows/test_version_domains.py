from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from raymlops.monitoring import DOMAIN_FILE, DomainClassifier
from raymlops.monitoring.windows.version_files import KEPT, VersionFiles


def sample() -> bytes:
    rng = np.random.default_rng(0)
    return DomainClassifier.fit(pa.table({"x": rng.normal(size=500), "y": rng.normal(size=500)})).dumps()


def test_each_version_has_its_own_and_keeps_it(world: Any) -> None:
    versions = [world.register(number) for number in range(1, KEPT + 3)]
    for number in range(2, KEPT + 3):
        (world.home / str(number) / DOMAIN_FILE).write_bytes(sample())
    domains = VersionFiles(world.metadata.models)
    assert domains.domain(versions[0]) == (None, "")  # version 1 has no sample, which is no fault
    assert domains.domain(None) == (None, "")
    found, problem = domains.domain(versions[1])
    assert found is not None
    assert problem == ""
    assert domains.domain(versions[1])[0] is found
    for version in versions[2:]:
        domains.domain(version)
    assert domains.domain(versions[1])[0] is not found, "only a few are kept"


def test_a_broken_sample_is_said_and_read_again(world: Any) -> None:
    version = world.register(1)
    path = world.home / "1" / DOMAIN_FILE
    path.write_bytes(sample()[:100])
    domains = VersionFiles(world.metadata.models)
    found, problem = domains.domain(version)
    assert found is None
    assert problem.startswith("the sample of version 1 cannot be read: ")
    path.write_bytes(sample())
    assert domains.domain(version)[0] is not None

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raymlops.errors import ConfigError
from raymlops.records.bundles import ProjectSpec
from raymlops.runtime.jobs.bundle_definitions import bundle_definitions, bundle_project

PROJECT = ProjectSpec(name="toy", model="late", definitions="wares.all:ALL", service="toy", spine="wares.all:spine")
SOURCE = b"""
from raymlops.features import FeatureService
from wares.names import VERSION
ALL = (FeatureService("toy", ["a:b"]), FeatureService("toy", ["a:b", "a:c"], version=VERSION))
"""
FILES = {"wares/__init__.py": b"", "wares/names.py": b"VERSION = 2\n", "wares/all.py": SOURCE}


def test_definitions_are_read_from_a_bundles_own_files_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    other = type(sys)("wares")
    monkeypatch.setitem(sys.modules, "wares", other)
    path = list(sys.path)
    assert [each.ref for each in bundle_definitions(PROJECT, FILES)] == ["toy@1", "toy@2"]
    newer = {**FILES, "wares/names.py": b"VERSION = 7\n"}
    assert [each.ref for each in bundle_definitions(PROJECT, newer)] == ["toy@1", "toy@7"], "nothing is left over"
    assert (sys.modules["wares"], sys.path) == (other, path)
    assert "wares.all" not in sys.modules


@pytest.mark.parametrize("source", [b"1 / 0", b"ALL = 3", b"", b"import nowhere_at_all"])
def test_definitions_that_cannot_be_read_are_told(source: bytes) -> None:
    with pytest.raises(ConfigError, match=r"definitions 'wares.all:ALL' cannot be imported: \w+Error"):
        bundle_definitions(PROJECT, {**FILES, "wares/all.py": source})


def test_a_run_has_the_services_of_its_own_bundle_and_the_names_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        found = bundle_project(PROJECT, "staging.toy")
        assert (found.name, found.model, found.service) == ("staging.toy", "staging.late", "toy@2")
        assert bundle_project(PROJECT, "toy") == PROJECT.model_copy(update={"service": "toy@2"})
        pinned = PROJECT.model_copy(update={"service": "toy@1"})
        assert bundle_project(pinned, "toy").service == "toy@1"
        applied = PROJECT.model_copy(update={"service": "others"})
        assert bundle_project(applied, "toy").service == "others"
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "wares"]:
            del sys.modules[name]

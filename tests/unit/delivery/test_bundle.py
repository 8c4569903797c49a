from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from raymlops.clock import ManualClock
from raymlops.delivery import build_bundle
from raymlops.errors import DeploymentError, StorageError
from raymlops.records.bundles import BundleManifest
from raymlops.records.record import sha256_of
from raymlops.testing.metadata_examples import EPOCH

from .conftest import replace_pytest, write_project

_CLOCK = ManualClock(EPOCH)


def test_a_bundle_holds_the_source_and_what_it_was_tested_with(built: tuple[Path, BundleManifest]) -> None:
    root, manifest = built
    directory = root / manifest.digest
    assert sorted(path.name for path in directory.iterdir()) == [
        *("bundle.zip", "manifest.json", "requirements.lock", "tests.txt", "tests.xml")
    ]
    assert sorted(manifest.files) == ["definitions.py", "project.yaml", "run.sh", "tests/test_definitions.py"]
    assert manifest.tests == {"passed": 1, "failed": 0, "skipped": 0}
    assert (manifest.built_at, manifest.project.model) == (EPOCH, "flight-delay")
    assert manifest.project.training == {"trials": 8}
    assert "1 passed" in (directory / "tests.txt").read_text()
    assert "\nsqlalchemy==" in (directory / "requirements.lock").read_text()
    with zipfile.ZipFile(directory / "bundle.zip") as archive:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
        assert archive.testzip() is None
    assert modes["run.sh"] == 0o755
    assert modes["project.yaml"] == 0o644
    assert {path.stat().st_mode & 0o222 for path in directory.iterdir()} == {0}
    assert [path.name for path in root.iterdir()] == [manifest.digest]


def test_equal_source_is_the_same_bundle_and_is_not_built_again(
    built: tuple[Path, BundleManifest], tmp_path: Path
) -> None:
    root, manifest = built
    again = write_project(tmp_path / "elsewhere")
    (again / "definitions.py").touch()
    (again / "tests" / "__pycache__").mkdir()
    (again / "tests" / "__pycache__" / "x.pyc").write_bytes(b"other")
    later = ManualClock(EPOCH + timedelta(days=1))
    assert build_bundle(again, root, later, test_timeout_s=0.0) == manifest


def test_builders_at_once_make_one_bundle(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    replace_pytest(project, "import time; time.sleep(0.3); print('1 passed')")
    with ThreadPoolExecutor(4) as pool:
        manifests = list(pool.map(lambda _: build_bundle(project, tmp_path / "bundles", _CLOCK), range(4)))
    assert all(manifest == manifests[0] for manifest in manifests)
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [manifests[0].digest]


def test_a_project_whose_tests_are_not_green_is_refused(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    (project / "tests" / "test_definitions.py").write_text("def test_it():\n    assert 1 == 2\n")
    with pytest.raises(DeploymentError, match="'flights': its tests must pass, got: 1 failed in") as caught:
        build_bundle(project, tmp_path / "bundles", _CLOCK)
    assert "assert 1 == 2" in Path(str(caught.value.context["log"])).read_text()
    assert caught.value.context["tests"] == {"passed": 0, "failed": 1, "skipped": 0}
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["rejected"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    (tmp_path / "bundles").write_text("a file")
    with pytest.raises(StorageError, match="bundles"):
        build_bundle(project, tmp_path / "bundles", _CLOCK)


def test_what_is_there_under_the_digest_is_verified(built: tuple[Path, BundleManifest], tmp_path: Path) -> None:
    root, manifest = built
    copy = tmp_path / "bundles"
    shutil.copytree(root, copy)
    (copy / manifest.digest / "requirements.lock").chmod(0o600)
    (copy / manifest.digest / "requirements.lock").write_text("other==1.0\n")
    with pytest.raises(DeploymentError, match=r"requirements\.lock: must have digest"):
        build_bundle(write_project(tmp_path / "project"), copy, _CLOCK)


def test_the_lock_does_not_depend_on_the_process(built: tuple[Path, BundleManifest], tmp_path: Path) -> None:
    (tmp_path / "stray-1.0.dist-info").mkdir()
    (tmp_path / "stray-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: stray\nVersion: 1.0\n")
    code = (
        "import sys; from raymlops.delivery.packages.locking import lock_project; "
        "sys.stdout.buffer.write(lock_project({}, ask_index=False).content)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert sha256_of(done.stdout) == built[1].lock_sha256

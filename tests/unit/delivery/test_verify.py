from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from raymlops.delivery import verify_bundle
from raymlops.delivery.verify import bundle_digest
from raymlops.errors import DeploymentError, NotFoundError
from raymlops.records.bundles import BundleManifest


@pytest.fixture
def bundle(built: tuple[Path, BundleManifest], tmp_path: Path) -> Path:
    """A copy that may be tampered with."""
    root, manifest = built
    copy = tmp_path / manifest.digest
    shutil.copytree(root / manifest.digest, copy)
    for path in copy.iterdir():
        path.chmod(0o600)
    return copy


def test_a_bundle_as_built_verifies(bundle: Path, built: tuple[Path, BundleManifest]) -> None:
    assert verify_bundle(bundle) == built[1]


@pytest.mark.parametrize("name", ["bundle.zip", "lock.txt", "manifest.json"])
def test_every_byte_counts(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(bytes(content))
    with pytest.raises(DeploymentError, match=bundle.name):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["bundle.zip", "lock.txt", "manifest.json"])
def test_what_is_missing_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(DeploymentError, match=f"{name}: a bundle must have it"):
        verify_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"files": {}}, "must hold the files of the manifest"),
        ({"tests": {"passed": 1, "failed": 1}}, "must be green"),
        ({"tests": {"passed": 0, "failed": 0}}, "must be green"),
        ({"digest": "0" * 64}, "must have digest"),
        ({"archive_sha256": "0" * 64}, r"bundle\.zip: must have digest"),
        ({"extra": 1}, "must be a bundle's manifest"),
    ],
)
def test_an_altered_manifest_is_found(bundle: Path, change: dict[str, object], what: str) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(DeploymentError, match=what):
        verify_bundle(bundle)


def test_a_manifest_that_speaks_of_another_project_is_found(bundle: Path) -> None:
    manifest = BundleManifest.model_validate_json((bundle / "manifest.json").read_text())
    project = manifest.project.model_copy(update={"model": "other"})
    digest = bundle_digest(manifest.archive_sha256, project, manifest.lock_sha256)
    forged = manifest.model_copy(update={"project": project, "digest": digest})
    (bundle / "manifest.json").write_text(forged.model_dump_json())
    with pytest.raises(DeploymentError, match=r"project\.yaml: must say what the manifest says"):
        verify_bundle(bundle.rename(bundle.parent / digest))


def test_another_name_is_not_its_own(bundle: Path) -> None:
    with pytest.raises(DeploymentError, match="must have digest"):
        verify_bundle(bundle.rename(bundle.parent / ("0" * 64)))


def test_no_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="ghost"):
        verify_bundle(tmp_path / "ghost")

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from raymlops.delivery import verify_bundle, verify_unpacked
from raymlops.delivery.verify import bundle_digest
from raymlops.errors import DeploymentError, NotFoundError
from raymlops.records.bundles import BundleManifest, ProjectSpec


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


def test_the_policy_is_part_of_the_digest_and_bundles_without_one_keep_theirs() -> None:
    spec = ProjectSpec(name="p", model="m", definitions="d:d", service="s", spine="d:s", training={"trials": 8})
    before = bundle_digest("a" * 64, spec, "b" * 64)
    assert before == "1ff1700656ab07c904911f847d26b46b47f6e15ebfc4c865328fc0f781c9e431", "as of the release before"
    said = [spec.model_copy(update={"policy": {"retrain": {"cooldown": f"{days}d"}}}) for days in (1, 2)]
    assert len({before, *(bundle_digest("a" * 64, each, "b" * 64) for each in said)}) == 3


@pytest.mark.parametrize("name", ["bundle.zip", "requirements.lock", "manifest.json"])
def test_every_byte_counts(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(bytes(content))
    with pytest.raises(DeploymentError, match=bundle.name):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["bundle.zip", "requirements.lock", "manifest.json"])
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


@pytest.fixture
def unpacked(built: tuple[Path, BundleManifest], tmp_path: Path) -> Path:
    """What Ray makes of a bundle's archive: the working directory of a run."""
    root, manifest = built
    with zipfile.ZipFile(root / manifest.digest / "bundle.zip") as archive:
        archive.extractall(tmp_path / "work")
    return tmp_path / "work"


def test_what_a_run_imports_is_the_bundle(built: tuple[Path, BundleManifest], unpacked: Path) -> None:
    stale = unpacked / "tests" / "__pycache__" / "test_definitions.cpython-311.pyc"
    stale.parent.mkdir()
    stale.write_bytes(b"run in place of the source")
    verify_unpacked(unpacked, built[1])
    assert not stale.exists()


@pytest.mark.parametrize(
    ("tamper", "named"),
    [
        (lambda at: (at / "definitions.py").write_text("import os"), "definitions.py: must have digest"),
        (lambda at: (at / "definitions.py").unlink(), "definitions.py: a bundle must have it: No such file"),
        (lambda at: (at / "numpy.py").write_text("import os"), "numpy.py: must be a file of bundle"),
        (lambda at: (at / "tests" / "more.pth").touch(), "more.pth: must be a file of bundle"),
        (lambda at: (at / "numpy").symlink_to("/etc"), "numpy: must be a file of bundle"),
        (lambda at: (at / "run.sh").rename(at / "x") and (at / "run.sh").symlink_to("x"), "must be a file of bundle"),
        (lambda at: (at / "run.sh").unlink() or (at / "run.sh").mkdir(), "run.sh: a bundle must have it: Is a dir"),
    ],
)
def test_a_file_that_somebody_swapped_is_named_in_one_line(
    built: tuple[Path, BundleManifest], unpacked: Path, tamper: Callable[[Path], object], named: str
) -> None:
    tamper(unpacked)
    with pytest.raises(DeploymentError, match=named) as caught:
        verify_unpacked(unpacked, built[1])
    assert "\n" not in str(caught.value)

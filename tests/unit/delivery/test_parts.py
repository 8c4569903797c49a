"""What a bundle holds besides the source: checks, report, lock, bill and wheels; and what is refused for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from securesystemslib.dsse import Envelope

from raymlops.clock import ManualClock
from raymlops.delivery import BundleParts, build_bundle, create_key, read_key, verify_bundle, verify_here
from raymlops.delivery.environment import require_packages
from raymlops.delivery.lock import Lock
from raymlops.delivery.packages.locking import lock_project
from raymlops.delivery.project import SourceFile
from raymlops.delivery.provenance import read_signed
from raymlops.errors import ConfigError, DeploymentError
from raymlops.records.bundles import BundleManifest, CheckResult
from raymlops.testing.metadata_examples import EPOCH
from tests.unit.delivery.packages.tiny_wheels import make_wheel, sha256_of_file

from .conftest import PROJECT, replace_pytest, write_project

_CLOCK = ManualClock(EPOCH)
_GREEN = CheckResult(name="features", outcome="passed", seconds=0.5, evidence="3 rows")
_RED = CheckResult(name="loss", outcome="failed", seconds=0.5, evidence="it does not fall", remedy="go slower")
_NONE = CheckResult(name="sample", outcome="not_applicable", seconds=0.0, evidence="no rows")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose tests take no time."""
    place = write_project(tmp_path / "project")
    replace_pytest(place, "print('1 passed')")
    return place


def _parts(*results: CheckResult, **more: object) -> BundleParts:
    return BundleParts(behaviour=lambda place: results, bill=lambda: b"{}", **more)  # type: ignore[arg-type]


def _tiny_lock(wheel: Path) -> BundleParts:
    content = f"tinything==1.0 --hash=sha256:{sha256_of_file(wheel)}\n".encode()

    def lock(files: Mapping[str, SourceFile], known: Iterable[bytes]) -> Lock:
        return Lock(content, "index")

    return BundleParts(lock=lock, wheels=True)


def test_what_the_checks_found_is_in_manifest_report_and_statement(project: Path, tmp_path: Path) -> None:
    public = create_key(tmp_path / "key")
    signer = read_key(tmp_path / "key")
    manifest = build_bundle(project, tmp_path / "bundles", _CLOCK, parts=_parts(_GREEN, _NONE), signer=lambda: signer)
    place = tmp_path / "bundles" / manifest.digest
    assert manifest.checks == {"passed": 1, "failed": 0, "not_applicable": 1}
    assert sorted(manifest.byproducts) == ["sbom.json", "tests.xml"]
    assert manifest.lock_from == "installed"
    (suite,) = ElementTree.parse(place / "tests.xml").getroot()
    assert [case.get("name") for case in suite] == ["features", "sample"]
    assert read_signed(place, manifest, {"ci": public}).builder == "ci"
    (envelope,) = place.glob("provenance-*.json")
    statement = json.loads(Envelope.from_dict(json.loads(envelope.read_bytes())).payload)
    needed = {each["name"]: each for each in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert needed["lock"]["digest"] == {"sha256": manifest.lock_sha256}
    assert needed["ray"]["uri"] == f"pkg:pypi/ray@{manifest.packages['ray']}"
    details = statement["predicate"]["runDetails"]
    assert details["builder"] == {"id": public}
    assert {each["name"]: each.get("digest", {}).get("sha256") for each in details["byproducts"]} == {
        "tests": None,
        "checks": None,
        **manifest.byproducts,
    }
    other = manifest.model_copy(update={"byproducts": {**manifest.byproducts, "sbom.json": "0" * 64}})
    with pytest.raises(DeploymentError, match="must be signed by one of ci"):
        read_signed(place, other, {"ci": public})


@pytest.mark.parametrize("name", ["sbom.json", "tests.xml"])
def test_an_altered_byproduct_is_named(project: Path, tmp_path: Path, name: str) -> None:
    manifest = build_bundle(project, tmp_path / "bundles", _CLOCK, parts=_parts())
    file = tmp_path / "bundles" / manifest.digest / name
    file.chmod(0o600)
    file.write_text("other")
    with pytest.raises(DeploymentError, match=f"{name}: must have digest"):
        verify_bundle(file.parent)
    file.unlink()
    with pytest.raises(DeploymentError, match=f"{name}: a bundle must have it"):
        verify_bundle(file.parent)


def test_a_check_that_fails_stops_the_build_in_one_line(project: Path, tmp_path: Path) -> None:
    (project / "pytest.py").write_text("raise SystemExit('the tests must not run')")
    with pytest.raises(DeploymentError) as caught:
        build_bundle(project, tmp_path / "bundles", _CLOCK, parts=_parts(_GREEN, _RED, _RED))
    told = str(caught.value)
    assert told.startswith("project 'flights': check loss failed: it does not fall; go slower (1 more failed); see ")
    assert "\n" not in told
    log = Path(str(caught.value.context["log"]))
    assert [json.loads(line)["name"] for line in log.read_text().splitlines()] == ["features", "loss", "loss"]
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["rejected"]


def test_what_is_imported_and_not_declared_stops_the_build(project: Path, tmp_path: Path) -> None:
    (project / "definitions.py").write_text("import moto\n")
    with pytest.raises(ConfigError, match=r"^definitions\.py: imports 'moto', which 'moto' has, and the project does"):
        build_bundle(project, tmp_path / "bundles", _CLOCK)
    assert list((tmp_path / "bundles").iterdir()) == []


def test_one_version_is_one_bundle(project: Path, tmp_path: Path) -> None:
    (project / "project.yaml").write_text(f"{PROJECT}version: 1.4.0\n")
    first = build_bundle(project, tmp_path / "bundles", _CLOCK)
    assert first.project.version == "1.4.0"
    assert build_bundle(project, tmp_path / "bundles", _CLOCK) == first
    (project / "definitions.py").write_text("def double(x):\n    return x + x\n")
    told = (
        f"^project 'flights': version '1.4.0' is bundle {first.digest}, of other files: give project.yaml a new version"
    )
    with pytest.raises(DeploymentError, match=told):
        build_bundle(project, tmp_path / "bundles", _CLOCK)
    (project / "project.yaml").write_text(f"{PROJECT}version: 1.4.1\n")
    assert build_bundle(project, tmp_path / "bundles", _CLOCK).digest != first.digest


def test_builds_in_two_places_give_one_digest(project: Path, tmp_path: Path) -> None:
    one = build_bundle(project, tmp_path / "one", _CLOCK, parts=_parts(_GREEN))
    two = build_bundle(project, tmp_path / "two", _CLOCK, parts=_parts(_GREEN, _NONE))
    assert one.digest == two.digest
    for name in ("bundle.zip", "requirements.lock", "sbom.json"):
        first, second = ((tmp_path / place / one.digest / name).read_bytes() for place in ("one", "two"))
        assert first == second, name


def test_hashes_that_an_index_adds_later_change_no_bundle(project: Path, tmp_path: Path) -> None:
    plain = lock_project({}, ask_index=False).content.decode().splitlines()
    asked = []

    def lock(files: Mapping[str, SourceFile], known: Iterable[bytes]) -> Lock:
        known = list(known)
        asked.append(len(known))
        hashes = f" --hash=sha256:{'b' * 64}" * len(asked)
        text = "".join(f"{line}{'' if line.startswith('#') else hashes}\n" for line in plain if "without" not in line)
        return lock_project(files, known, ask_index=False) if known else Lock(text.encode(), "index")

    first = build_bundle(project, tmp_path / "bundles", _CLOCK, parts=BundleParts(lock=lock))
    assert build_bundle(project, tmp_path / "bundles", _CLOCK, parts=BundleParts(lock=lock)) == first
    assert asked == [0, 1]


def test_a_bundle_of_other_packages_is_not_for_here(project: Path, tmp_path: Path) -> None:
    manifest = build_bundle(project, tmp_path / "bundles", _CLOCK)
    assert verify_here(tmp_path / "bundles", manifest.digest) == manifest
    other = manifest.model_copy(update={"packages": {**manifest.packages, "numpy": "1.0"}})
    told = r"was tested with other packages than are installed here: numpy 1\.0, here .*; install its lock"
    with pytest.raises(DeploymentError, match=told):
        require_packages(other)
    place = tmp_path / "bundles" / manifest.digest
    (place / "manifest.json").chmod(0o600)
    (place / "manifest.json").write_text(other.model_dump_json())
    with pytest.raises(DeploymentError, match=r"manifest\.json: must name the packages of the lock"):
        verify_bundle(place)


def test_a_bundle_of_release_0_1_is_still_one(built: tuple[Path, BundleManifest], tmp_path: Path) -> None:
    """Its lock is ``lock.txt``, without hashes, of all that is installed."""
    from raymlops.delivery.lock import installed_lock
    from raymlops.delivery.verify import bundle_digest
    from raymlops.records.record import sha256_of

    root, manifest = built
    lock = installed_lock()
    digest = bundle_digest(manifest.archive_sha256, manifest.project, sha256_of(lock))
    place = tmp_path / digest
    shutil.copytree(root / manifest.digest, place)
    for path in place.iterdir():
        path.chmod(0o600)
    old = {"digest": digest, "lock_sha256": sha256_of(lock), "packages": {}, "lock_from": "", "byproducts": {}}
    (place / "lock.txt").write_bytes(lock)
    (place / "manifest.json").write_text(manifest.model_copy(update=old).model_dump_json())
    assert verify_here(tmp_path, digest).packages == {}


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one wheel that pip finds."""
    made = make_wheel(tmp_path / "index")
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(made.parent)), ("CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(f"PIP_{name}", value)
    return made


def test_wheels_travel_and_a_missing_or_altered_one_is_refused(project: Path, tmp_path: Path, wheel: Path) -> None:
    manifest = build_bundle(project, tmp_path / "bundles", _CLOCK, parts=_tiny_lock(wheel))
    carried = tmp_path / "bundles" / manifest.digest / "wheels" / wheel.name
    assert carried.read_bytes() == wheel.read_bytes()
    with pytest.raises(DeploymentError, match=r"other packages than are installed here: tinything 1\.0, here none"):
        verify_here(tmp_path / "bundles", manifest.digest)
    carried.chmod(0o600)
    carried.write_bytes(b"other")
    with pytest.raises(DeploymentError, match=r"tinything-1\.0-py3-none-any\.whl: must have a hash of the lock"):
        verify_here(tmp_path / "bundles", manifest.digest)
    carried.unlink()
    with pytest.raises(DeploymentError, match="wheels: lacks the wheel of tinything"):
        verify_here(tmp_path / "bundles", manifest.digest)


def test_wheels_are_added_to_a_bundle_that_is_there(project: Path, tmp_path: Path, wheel: Path) -> None:
    parts = _tiny_lock(wheel)
    without = build_bundle(project, tmp_path / "bundles", _CLOCK, parts=BundleParts(lock=parts.lock))
    assert build_bundle(project, tmp_path / "bundles", _CLOCK, parts=parts) == without
    assert (tmp_path / "bundles" / without.digest / "wheels" / wheel.name).exists()

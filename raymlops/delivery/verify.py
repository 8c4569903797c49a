"""Checking that a bundle is what was built and tested."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

from pydantic import ValidationError

from raymlops.delivery.lock import read_lock, versions_of
from raymlops.delivery.project import PROJECT_FILE, parse_project
from raymlops.errors import ConfigError, DeploymentError, NotFoundError
from raymlops.records.bundles import BundleManifest, ProjectSpec
from raymlops.records.record import sha256_of

__all__ = [
    "ARCHIVE",
    "BILL",
    "LOCK",
    "MANIFEST",
    "REPORT",
    "TESTS",
    "bundle_digest",
    "lock_file",
    "read_sources",
    "require_one_of_version",
    "verify_bundle",
    "verify_unpacked",
]

ARCHIVE, LOCK, MANIFEST, TESTS = "bundle.zip", "requirements.lock", "manifest.json", "tests.txt"
REPORT, BILL = "tests.xml", "sbom.json"
"""Byproducts of a build: results of tests and checks as JUnit XML, and the bill of materials."""
_OLD_LOCK = "lock.txt"


def bundle_digest(archive_sha256: str, project: ProjectSpec, lock_sha256: str) -> str:
    """The identity of a bundle: its files, what they say of themselves, and the packages they were tested with."""
    return sha256_of({"archive": archive_sha256, "project": project, "lock": lock_sha256})


def verify_bundle(directory: Path | str) -> BundleManifest:
    """Compute every hash of a bundle again.

    Returns:
        Its manifest.

    Raises:
        NotFoundError: There is no such bundle.
        DeploymentError: Something is missing, altered or added, or its tests were not green; the message names the
            file.
    """
    place = Path(directory)
    if not place.is_dir():
        raise NotFoundError(f"bundle {place.name!r} does not exist in {place.parent}", digest=place.name)
    try:
        manifest = BundleManifest.model_validate_json(_read(place / MANIFEST))
    except ValidationError as error:
        raise _altered(place / MANIFEST, f"must be a bundle's manifest: {error.error_count()} faults") from error
    _check_archive(place / ARCHIVE, manifest)
    lock = lock_file(place, manifest)
    content = _read(lock)
    _expect(lock, manifest.lock_sha256, sha256_of(content))
    if manifest.packages and versions_of(read_lock(content, str(lock))) != manifest.packages:
        raise _altered(place / MANIFEST, "must name the packages of the lock")
    digest = bundle_digest(manifest.archive_sha256, manifest.project, manifest.lock_sha256)
    _expect(place / MANIFEST, digest, manifest.digest)
    _expect(place, digest, place.name)
    if manifest.tests.get("failed") != 0 or manifest.tests.get("passed", 0) < 1:
        raise _altered(place / MANIFEST, f"its tests must be green, got {manifest.tests}")
    if manifest.checks.get("failed", 0):
        raise _altered(place / MANIFEST, f"its checks must be green, got {manifest.checks}")
    for name, expected in manifest.byproducts.items():
        if name not in {REPORT, BILL}:
            raise _altered(place / MANIFEST, f"a byproduct must be {REPORT} or {BILL}, got {name!r}")
        _expect(place / name, expected, sha256_of(_read(place / name)))
    return manifest


def lock_file(directory: Path, manifest: BundleManifest) -> Path:
    """The lock of a bundle; those of release 0.1 had another one."""
    return directory / (LOCK if manifest.packages else _OLD_LOCK)


def require_one_of_version(manifest: BundleManifest, other: BundleManifest) -> None:
    """Refuse a bundle whose project has the name and the version of another one.

    Raises:
        DeploymentError: It has; the message says in what the two differ.
    """
    mine, others = manifest.project, other.project
    if mine.version is None or (mine.name, mine.version) != (others.name, others.version):
        return
    if manifest.digest == other.digest:
        return
    differs = "packages" if manifest.archive_sha256 == other.archive_sha256 else "files"
    raise DeploymentError(
        f"project {mine.name!r}: version {mine.version!r} is bundle {other.digest}, of other {differs}: give "
        f"{PROJECT_FILE} a new version",
        digest=other.digest,
    )


def read_sources(directory: Path) -> dict[str, bytes]:
    """The files of a bundle, path -> content, each held against its hash. Raises what ``verify_bundle`` raises."""
    return _check_archive(directory / ARCHIVE, verify_bundle(directory))


def verify_unpacked(directory: Path, manifest: BundleManifest) -> None:
    """Check the files that a run is about to import against the bundle that it runs from.

    Bytecode that Python left is removed: Python would run it in place of the source, and no manifest covers it.

    Args:
        directory: Where the bundle's archive was unpacked.
        manifest: As ``verify_bundle`` gave it.

    Raises:
        DeploymentError: A file is missing, altered, no regular file, or none of the bundle's; the message names it.
    """
    for name, expected in manifest.files.items():
        _expect(directory / name, expected, sha256_of(_read(directory / name)))
    caches = [path for path in directory.rglob("__pycache__") if path.is_dir() and not path.is_symlink()]
    for path in directory.rglob("*"):
        if any(path == cache or cache in path.parents for cache in caches):
            continue
        known = path.is_dir() if path.relative_to(directory).as_posix() not in manifest.files else path.is_file()
        if path.is_symlink() or not known:
            raise _altered(path, f"must be a file of bundle {manifest.digest}, and is none")
    for cache in caches:
        shutil.rmtree(cache, ignore_errors=True)


def _check_archive(file: Path, manifest: BundleManifest) -> dict[str, bytes]:
    content = _read(file)
    _expect(file, manifest.archive_sha256, sha256_of(content))
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise _altered(file, f"must be a zip archive: {error}") from error
    if found.keys() != manifest.files.keys():
        difference = sorted(found.keys() ^ manifest.files.keys())
        raise _altered(file, f"must hold the files of the manifest, differs in {difference}")
    for name, data in found.items():
        _expect(file / name, manifest.files[name], sha256_of(data))
    try:
        project = parse_project(found.get(PROJECT_FILE, b""), str(file / PROJECT_FILE))
    except ConfigError as error:
        raise _altered(file / PROJECT_FILE, str(error)) from error
    if project != manifest.project:
        raise _altered(file / PROJECT_FILE, "must say what the manifest says of the project")
    return found


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _altered(file, f"a bundle must have it: {error.strerror}") from error


def _expect(file: Path, expected: str, found: str) -> None:
    if expected != found:
        raise _altered(file, f"must have digest {expected}, got {found}")


def _altered(file: Path, what: str) -> DeploymentError:
    return DeploymentError(f"{file}: {what}", path=str(file))

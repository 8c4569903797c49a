"""Building a bundle: source in, tested and immutable directory out."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from raymlops.clock import Clock
from raymlops.delivery.archive import pack, unpack
from raymlops.delivery.checkout import Checkout, read_checkout
from raymlops.delivery.lock import installed_lock
from raymlops.delivery.project import PROJECT_FILE, SourceFile, collect_files, parse_project, read_project
from raymlops.delivery.provenance import sign_bundle
from raymlops.delivery.suite import SuiteReport, run_suite
from raymlops.delivery.verify import ARCHIVE, LOCK, MANIFEST, TESTS, bundle_digest, verify_bundle
from raymlops.errors import ConfigError, DeploymentError, StorageError
from raymlops.records.bundles import BundleManifest, ProjectSpec
from raymlops.records.record import sha256_of
from raymlops.scratch import Scratch

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

__all__ = ["ProjectCheck", "build_bundle"]

ProjectCheck = Callable[[Path], Sequence[str]]
"""Directory with a copy of a project -> everything that is wrong with it, one line per fault."""


def build_bundle(
    project_dir: Path | str,
    bundles_root: Path | str,
    clock: Clock,
    *,
    check: ProjectCheck | None = None,
    test_timeout_s: float = 300.0,
    allow_dirty: bool = False,
    signer: CryptoSigner | None = None,
    by: str = "",
) -> BundleManifest:
    """Test a project and make it a bundle: ``bundles_root/DIGEST`` with archive, lock, manifest and test output.

    The tests run on a copy of exactly the files that are shipped. Equal files, in an equal environment, are one bundle:
    where it is there already it is verified, not built again. The directory appears whole or not at all; several
    processes may build at once.

    Args:
        project_dir: Holds ``project.yaml``, the code and its tests.
        bundles_root: Holds the bundles; made where it is not there.
        clock: Tells when it was built.
        check: Tells all that is wrong with a project, before its tests run; it is given a copy of its files.
        test_timeout_s: How long the tests may take.
        allow_dirty: Whether files of a git checkout may differ from its commit; the manifest says that they do.
        signer: The key that the bundle is signed with (``read_key``).
        by: Who builds it.

    Raises:
        ConfigError: ``project.yaml`` or a file of the project is wrong; ``context["faults"]`` has every fault. Or the
            checkout is dirty.
        DeploymentError: A test failed, none passed, or the tests took too long; or what is there under the digest is
            not what was built.
        StorageError: A file cannot be read or written; the message names it.
    """
    root = Path(bundles_root)
    try:
        checkout = read_checkout(Path(project_dir), _read_files(Path(project_dir), check))
        project = parse_project(checkout.files[PROJECT_FILE].content, PROJECT_FILE)
        if not allow_dirty:
            checkout.require_clean(project.name)
        root.mkdir(parents=True, exist_ok=True)
        manifest = _build(checkout, project, root, _Suite(check, test_timeout_s), built_at=clock.now(), by=by)
        if signer is not None:
            sign_bundle(root / manifest.digest, manifest, checkout.source, signer)
        return manifest
    except OSError as error:
        raise StorageError(f"{error.filename or root}: {error.strerror or error}", path=str(root)) from error


def _read_files(project_dir: Path, check: ProjectCheck | None) -> dict[str, SourceFile]:
    """The files of a project whose ``project.yaml`` can be read; else the check tells more than the first fault."""
    try:
        read_project(project_dir)
    except ConfigError:
        if check is not None and (project_dir / PROJECT_FILE).exists():
            _require_sound(collect_files(project_dir), check)
        raise
    return collect_files(project_dir)


def _require_sound(files: Mapping[str, SourceFile], check: ProjectCheck) -> None:
    with _copied(files) as directory:
        faults = check(directory)
    if faults:
        raise ConfigError("; ".join(faults), faults=list(faults))


class _Suite(NamedTuple):
    """What a project must pass."""

    check: ProjectCheck | None
    timeout_s: float


def _build(
    checkout: Checkout, project: ProjectSpec, root: Path, test: _Suite, *, built_at: datetime, by: str
) -> BundleManifest:
    files = checkout.files
    archive, lock = pack(files), installed_lock()
    digest = bundle_digest(sha256_of(archive), project, sha256_of(lock))
    target = root / digest
    if target.exists():
        return verify_bundle(target)
    if test.check is not None:
        _require_sound(files, test.check)
    report = _tested(files, test.timeout_s)
    if not report.green:
        log = root / "rejected" / f"{digest}.txt"
        log.parent.mkdir(exist_ok=True)
        log.write_text(report.output)
        raise DeploymentError(
            f"project {project.name!r}: its tests must pass, got: {report.summary}; see {log}",
            project=project.name,
            log=str(log),
            tests=report.counts,
        )
    manifest = BundleManifest(
        digest=digest,
        project=project,
        archive_sha256=sha256_of(archive),
        files={name: sha256_of(file.content) for name, file in files.items()},
        lock_sha256=sha256_of(lock),
        tests=report.counts,
        built_at=built_at,
        built_by=by,
        source=checkout.source,
    )
    content = {
        ARCHIVE: archive,
        LOCK: lock,
        TESTS: report.output.encode(),
        MANIFEST: manifest.model_dump_json(indent=2).encode(),
    }
    _publish(content, target)
    return verify_bundle(target)


def _tested(files: Mapping[str, SourceFile], timeout_s: float) -> SuiteReport:
    with _copied(files) as directory:
        return run_suite(directory, directory.parent / "home", timeout_s=timeout_s)


@contextmanager
def _copied(files: Mapping[str, SourceFile]) -> Iterator[Path]:
    # Outside of bundles_root and of the home, whose parents may hold a pytest configuration that is not the project's.
    with Scratch("build", Path(tempfile.gettempdir())) as scratch:
        directory = scratch / "project"
        directory.mkdir()
        unpack(files, directory)
        yield directory


def _publish(content: Mapping[str, bytes], target: Path) -> None:
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=".building-"))
    try:
        for name, data in content.items():
            with (staging / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            (staging / name).chmod(0o444)
        staging.chmod(0o755)
        _sync(staging)
        try:
            staging.rename(target)
        except OSError:
            # Another process built the same bundle meanwhile; the caller verifies what is there.
            if not target.exists():
                raise
        _sync(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

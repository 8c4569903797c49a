"""Building a bundle: source in, tested and immutable directory out."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from raymlops.clock import Clock
from raymlops.delivery.archive import pack, unpack
from raymlops.delivery.git.checkout import Checkout, read_checkout
from raymlops.delivery.lock import Lock
from raymlops.delivery.own_tests.report import count_checks, junit_report
from raymlops.delivery.own_tests.suite import SuiteReport, run_suite
from raymlops.delivery.packages.locking import lock_project
from raymlops.delivery.packages.wheels import WHEELS, carry_wheels
from raymlops.delivery.programs import Account, foreign_room, hand_over, read_foreign
from raymlops.delivery.project import PROJECT_FILE, SourceFile, collect_files, parse_project, read_project
from raymlops.delivery.provenance import sign_bundle
from raymlops.delivery.verify import (
    ARCHIVE,
    BILL,
    LOCK,
    MANIFEST,
    REPORT,
    TESTS,
    bundle_digest,
    lock_file,
    require_one_of_version,
    verify_bundle,
)
from raymlops.errors import ConfigError, DeploymentError, StorageError
from raymlops.records.bundles import BundleManifest, CheckResult, ProjectSpec
from raymlops.records.record import sha256_of
from raymlops.scratch import sync, write_synced

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

__all__ = ["BehaviourChecks", "BundleParts", "ProjectCheck", "build_bundle"]

ProjectCheck = Callable[[Path], Sequence[str]]
"""Directory with a copy of a project -> everything that is wrong with it, one line per fault."""
BehaviourChecks = Callable[[Path], Sequence[CheckResult]]
"""Directory with a copy of a project -> what came of the checks that every project gets."""


def _offline_lock(files: Mapping[str, SourceFile], known: Iterable[bytes]) -> Lock:
    return lock_project(files, known, ask_index=False)


@dataclass(frozen=True)
class BundleParts:
    """Checks of a project, and makers of those parts of its bundle that depend on more than the project.

    Attributes:
        check: Tells all that is wrong with a project, before anything is run; it is given a copy of its files.
        behaviour: Runs the checks that every project gets, before its own tests.
        lock: From the project's files, and the locks of former bundles of the same files.
        bill: The bill of materials of the environment; ``None``: there is none.
        wheels: Whether the bundle carries the wheels of its lock.
        account: Account that runs the project's tests; ``None``: this process's. Other checks choose their own.
    """

    check: ProjectCheck | None = None
    behaviour: BehaviourChecks | None = None
    lock: Callable[[Mapping[str, SourceFile], Iterable[bytes]], Lock] = _offline_lock
    bill: Callable[[], bytes] | None = None
    wheels: bool = False
    account: Account | None = None


def build_bundle(
    project_dir: Path | str,
    bundles_root: Path | str,
    clock: Clock,
    *,
    parts: BundleParts | None = None,
    test_timeout_s: float = 300.0,
    allow_dirty: bool = False,
    signer: Callable[[], CryptoSigner] | None = None,
    by: str = "",
) -> BundleManifest:
    """Test a project and make it a bundle: ``bundles_root/DIGEST`` with archive, lock, manifest and test reports.

    The tests run on a copy of exactly the files that are shipped. Equal files, in an equal environment, are one bundle:
    where it is there already it is verified, not built again. The directory appears whole or not at all; several
    processes may build at once.

    Args:
        project_dir: Holds ``project.yaml``, the code and its tests.
        bundles_root: Holds the bundles; made where it is not there.
        clock: Tells when it was built.
        parts: Checks, lock, bill of materials and wheels; by default only the project's own tests run, no index is
            asked, and there are neither of the latter.
        test_timeout_s: How long the tests may take.
        allow_dirty: Whether files of a git checkout may differ from its commit; the manifest says that they do.
        signer: Reads the key that the bundle is signed with (``read_key``), once no code of the project runs any more.
        by: Who builds it.

    Raises:
        ConfigError: ``project.yaml`` or a file of the project is wrong; ``context["faults"]`` has every fault. Or the
            checkout is dirty, a dependency is not declared, or the project's lock is not what is installed.
        DeploymentError: A check or a test failed, no test passed, or the tests took too long; what is there under the
            digest is not what was built; or another bundle has the project's version.
        StorageError: A file cannot be read or written; the message names it.
    """
    root, parts = Path(bundles_root), parts or BundleParts()
    try:
        checkout = read_checkout(Path(project_dir), _read_files(Path(project_dir), parts))
        project = parse_project(checkout.files[PROJECT_FILE].content, PROJECT_FILE)
        if not allow_dirty:
            checkout.require_clean(project.name)
        root.mkdir(parents=True, exist_ok=True)
        manifest = _build(checkout, project, root, parts, test_timeout_s, built_at=clock.now(), by=by)
        if parts.wheels:
            carry_wheels(lock_file(root / manifest.digest, manifest), root / manifest.digest / WHEELS)
        if signer is not None:
            sign_bundle(root / manifest.digest, manifest, checkout.source, signer())
        return manifest
    except OSError as error:
        raise StorageError(f"{error.filename or root}: {error.strerror or error}", path=str(root)) from error


def _read_files(project_dir: Path, parts: BundleParts) -> dict[str, SourceFile]:
    """The files of a project whose ``project.yaml`` can be read; else the check tells more than the first fault."""
    try:
        read_project(project_dir)
    except ConfigError:
        if parts.check is not None and (project_dir / PROJECT_FILE).exists():
            _require_sound(collect_files(project_dir), parts.check, parts.account)
        raise
    return collect_files(project_dir)


def _require_sound(files: Mapping[str, SourceFile], check: ProjectCheck, account: Account | None) -> None:
    with _copied(files, account) as directory:
        faults = check(directory)
    if faults:
        raise ConfigError("; ".join(faults), faults=list(faults))


def _build(
    checkout: Checkout,
    project: ProjectSpec,
    root: Path,
    parts: BundleParts,
    test_timeout_s: float,
    *,
    built_at: datetime,
    by: str,
) -> BundleManifest:
    files = checkout.files
    archive, former = pack(files), _former(root, project.name)
    lock = parts.lock(files, _locks(root, [each for each in former if each.archive_sha256 == sha256_of(archive)]))
    digest = bundle_digest(sha256_of(archive), project, sha256_of(lock.content))
    target = root / digest
    if target.exists():
        return verify_bundle(target)
    if parts.check is not None:
        _require_sound(files, parts.check, parts.account)
    draft = BundleManifest(
        digest=digest,
        project=project,
        archive_sha256=sha256_of(archive),
        files={name: sha256_of(file.content) for name, file in files.items()},
        lock_sha256=sha256_of(lock.content),
        packages=lock.packages,
        lock_from=lock.origin,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        tests={},
        built_at=built_at,
        built_by=by,
        source=checkout.source,
    )
    for other in former:
        require_one_of_version(draft, other)
    checks = _checked(files, draft, root, parts)
    report, junit = _tested(files, test_timeout_s, checks, parts.account)
    if not report.green:
        log = _rejected(root, digest, report.output)
        raise DeploymentError(
            f"project {project.name!r}: its tests must pass, got: {report.summary}; see {log}",
            project=project.name,
            log=str(log),
            tests=report.counts,
        )
    content = {ARCHIVE: archive, LOCK: lock.content, TESTS: report.output.encode(), REPORT: junit}
    if parts.bill is not None:
        content[BILL] = parts.bill()
    byproducts = {name: sha256_of(content[name]) for name in (REPORT, BILL) if name in content}
    found = {"tests": report.counts, "checks": count_checks(checks), "byproducts": byproducts}
    content[MANIFEST] = draft.model_copy(update=found).model_dump_json(indent=2).encode()
    _publish(content, target)
    return verify_bundle(target)


def _former(root: Path, name: str) -> list[BundleManifest]:
    """Manifests of a project's stored bundles; a user of a bundle verifies it first."""
    found = []
    for path in sorted(root.glob(f"*/{MANIFEST}")):
        try:
            manifest = BundleManifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):  # a fault of another bundle is raised where that bundle is used
            continue
        if manifest.project.name == name and manifest.digest == path.parent.name:
            found.append(manifest)
    return found


def _locks(root: Path, bundles: Iterable[BundleManifest]) -> Iterator[bytes]:
    """The locks of bundles, of those that were not altered."""
    for manifest in bundles:
        lock = lock_file(root / manifest.digest, manifest)
        if manifest.packages and lock.exists() and sha256_of(content := lock.read_bytes()) == manifest.lock_sha256:
            yield content


def _checked(
    files: Mapping[str, SourceFile], draft: BundleManifest, root: Path, parts: BundleParts
) -> Sequence[CheckResult]:
    if parts.behaviour is None:
        return ()
    with _copied(files, parts.account) as directory:
        checks = parts.behaviour(directory)
    failed = [each for each in checks if each.outcome == "failed"]
    if failed:
        log = _rejected(root, draft.digest, "".join(f"{each.model_dump_json()}\n" for each in checks))
        first, others = failed[0], f" ({len(failed) - 1} more failed)" if len(failed) > 1 else ""
        raise DeploymentError(
            f"project {draft.project.name!r}: check {first.name} failed: {first.evidence}; {first.remedy}{others}; "
            f"see {log}",
            project=draft.project.name,
            checks=[each.name for each in failed],
            log=str(log),
        )
    return checks


def _rejected(root: Path, digest: str, text: str) -> Path:
    log = root / "rejected" / f"{digest}.txt"
    log.parent.mkdir(exist_ok=True)
    log.write_text(text)
    return log


def _tested(
    files: Mapping[str, SourceFile], timeout_s: float, checks: Sequence[CheckResult], account: Account | None
) -> tuple[SuiteReport, bytes]:
    with _copied(files, account) as directory:
        results, home = directory.parent / "tests.xml", directory.parent / "home"
        report = run_suite(directory, home, timeout_s=timeout_s, report=results, account=account)
        return report, junit_report(read_foreign(results), checks)


@contextmanager
def _copied(files: Mapping[str, SourceFile], account: Account | None) -> Iterator[Path]:
    # Outside of bundles_root and of the home, whose parents may hold a pytest configuration that is not the project's.
    with foreign_room("build", account, Path(tempfile.gettempdir())) as room:
        directory = room / "project"
        directory.mkdir()
        unpack(files, directory)
        hand_over(directory, account)
        yield directory


def _publish(content: Mapping[str, bytes], target: Path) -> None:
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=".building-"))
    try:
        for name, data in content.items():
            write_synced(staging / name, data)
            (staging / name).chmod(0o444)
        staging.chmod(0o755)
        sync(staging)
        try:
            staging.rename(target)
        except OSError:
            # Another process built the same bundle meanwhile; the caller verifies what is there.
            if not target.exists():
                raise
        sync(target.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)

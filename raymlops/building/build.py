"""Building a project's bundle, by the configuration of a platform that need not run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from raymlops.building.checks.room import check_behaviour
from raymlops.clock import Clock
from raymlops.config.platform import PlatformConfig
from raymlops.delivery.bundle import BundleParts, build_bundle
from raymlops.delivery.packages.bill import environment_bill
from raymlops.delivery.packages.locking import OWN_LOCK, lock_project
from raymlops.delivery.programs import account_of
from raymlops.delivery.project import collect_files
from raymlops.delivery.provenance import read_key
from raymlops.errors import StorageError
from raymlops.features.catalog.catalog_file import Catalog
from raymlops.features.catalog.layout import catalog_path
from raymlops.records.bundles import BundleManifest
from raymlops.steps import check_project
from raymlops.tables.files import parse_root

__all__ = ["build_project", "lock_directory"]


def build_project(
    config: PlatformConfig,
    clock: Clock,
    project: Path | str,
    *,
    by: str,
    allow_dirty: bool = False,
    key: Path | None = None,
    wheels: bool = False,
    offline: bool = False,
) -> BundleManifest:
    """Check and test a project, and build its immutable bundle in the platform's home.

    Args:
        config: Of the platform: its home, its applied definitions, its signing key.
        clock: Tells when it was built.
        project: Its directory.
        by: Who builds it.
        allow_dirty: Whether files of a git checkout may differ from its commit.
        key: File with the private key that the bundle is signed with; by default ``delivery.signing_key``.
        wheels: Whether the bundle carries the wheels of its lock, so that installing them needs no index.
        offline: Ask no index: the lock has then no hashes, unless the project brings its own.

    Raises:
        RaymlopsError: As ``delivery.build_bundle`` does.
    """
    root = parse_root(config.feature_place().root)
    applied = Catalog(catalog_path(root), config.features.storage_options).state()
    key = key or config.delivery.signing_key
    signer = None if key is None else partial(read_key, key)
    if signer is not None:
        signer()  # that it cannot be read is told before the tests run
    user = config.delivery.build_user
    account = None if user is None else account_of(user)
    parts = BundleParts(
        check=partial(check_project, applied=applied, account=account),
        behaviour=partial(check_behaviour, account=account),
        lock=partial(lock_project, ask_index=not offline),
        bill=environment_bill,
        wheels=wheels,
        account=account,
    )
    return build_bundle(
        project,
        config.home / "bundles",
        clock,
        parts=parts,
        allow_dirty=allow_dirty,
        signer=signer,
        by=by,
    )


def lock_directory(project: Path) -> Path:
    """Write a project's lock into it, with the hashes of the index: builds everywhere then have the same one.

    Raises:
        ConfigError: The project imports what it does not declare, or needs what is not installed.
        StorageError: No index was reachable, or the file cannot be written.
    """
    files = {name: file for name, file in collect_files(project).items() if name != OWN_LOCK}
    lock = lock_project(files)
    if lock.note:
        raise StorageError(f"{project}: cannot be locked with hashes: {lock.note}", path=str(project))
    target = project / OWN_LOCK
    try:
        target.write_bytes(lock.content)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}", path=str(target)) from error
    return target

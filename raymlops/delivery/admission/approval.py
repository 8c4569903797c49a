"""Approvals of bundles for environments, by people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from raymlops.errors import DeploymentError
from raymlops.records.bundles import BundleManifest, Source
from raymlops.records.ledger import Ledger, LedgerEntry
from raymlops.records.names import check_label, check_name
from raymlops.records.serving.keys import ENVIRONMENT, ApiKey

__all__ = ["Approval", "approve_bundle", "approvers", "ledger_subject", "require_approvals"]

_APPROVE = "approve_bundle"


def ledger_subject(digest: str) -> str:
    """The subject of a bundle's ledger entries."""
    return f"bundle:{digest}"


def approve_bundle(
    manifest: BundleManifest, environment: str, by: str, ledger: Ledger, reason: str = "", *, key_id: str | None = None
) -> LedgerEntry:
    """Record that a person approves a bundle for an environment; once is enough.

    A name without a key is recorded, too; it counts while there is no key to approve with, see ``require_approvals``.

    Args:
        manifest: Of the bundle.
        environment: Where it may be deployed then.
        by: Who approves; the owner of the key, where one was shown.
        ledger: Records the approval.
        reason: Why, for people.
        key_id: Of the API key that was shown and may approve there; ``None``: none was.

    Raises:
        ConfigError: Nobody, or no environment, is named.
    """
    check_name("environment", environment)
    check_label("who approves", by)
    return ledger.append_entry(
        ledger_subject(manifest.digest),
        _APPROVE,
        reason or f"approved for {environment} by {by}",
        {"bundle": manifest.digest, "environment": environment, "by": by, "pipeline": manifest.project.name}
        | ({} if key_id is None else {"key": key_id}),
        key=f"{_APPROVE}:{environment}:{manifest.digest}:{by if key_id is None else f'key:{key_id}'}",
    )


def approvers(digest: str, environment: str, ledger: Ledger) -> list[str]:
    """Names of the people who have approved a bundle for an environment, with a key or without, sorted."""
    return sorted({approval.by for approval in _approvals(digest, environment, ledger)})


class Approval(NamedTuple):
    """One approval of a bundle."""

    by: str
    key: str | None
    """Id of the key that was shown; ``None`` where none was: anybody can have said it."""


def require_approvals(
    manifest: BundleManifest,
    source: Source | None,
    environment: str,
    required: int,
    *,
    ledger: Ledger,
    keys: Iterable[ApiKey],
) -> None:
    """Refuse a bundle that too few people have approved; its builder and the author of its commit do not count.

    A person is the owner of an API key, by the name that was given when the key was made. The author of a commit is an
    e-mail address, where the commit has one, and then so must be the owner of a key. Until a key that may approve there
    is made, a person is the name that was given; afterwards no name alone counts, be the key revoked or not.

    Args:
        manifest: Of the bundle.
        source: The commit that it was built from, as its builder says.
        environment: Where it is to be deployed.
        required: How many people.
        ledger: Holds the approvals.
        keys: All keys.

    Raises:
        DeploymentError: Too few; the message says why which approval does not count, and what to set up.
    """
    if not required:
        return
    known = {key.id: key for key in keys}
    authors = {manifest.built_by, "" if source is None else source.author} - {""}
    target = f"{ENVIRONMENT}{environment}"
    named = not any(key.allows("operate", target) for key in known.values())
    counted: dict[str, str] = {}
    faults: dict[str, None] = {}
    for approval in _approvals(manifest.digest, environment, ledger):
        fault = _fault(approval, known, authors, named=named)
        if fault is None:
            counted.setdefault(approval.by.casefold(), approval.by)  # a person with two keys counts once
        else:
            faults[fault] = None
    if len(counted) >= required:
        return
    who = sorted(counted.values())
    told = f" ({'; '.join(faults)})" if faults else ""
    raise DeploymentError(
        f"bundle {manifest.digest}: must be approved for {environment!r} by {required}, is by {len(who)}: "
        f"{', '.join(who) or 'nobody'}{told}",
        digest=manifest.digest,
        environment=environment,
        required=required,
        approved_by=who,
    )


def _approvals(digest: str, environment: str, ledger: Ledger) -> list[Approval]:
    said = (entry.evidence for entry in ledger.entries(ledger_subject(digest)) if entry.action == _APPROVE)
    return [Approval(str(each["by"]), each.get("key")) for each in said if each["environment"] == environment]


def _fault(approval: Approval, keys: Mapping[str, ApiKey], authors: set[str], *, named: bool) -> str | None:
    """Why an approval does not count."""
    if approval.key is None:
        if not named:
            return f"who said {approval.by!r} showed no key"
        return "its builder and its author do not count" if _is_one_of(approval.by, authors) else None
    key = keys.get(approval.key)
    if key is None or key.revoked_at is not None:
        return f"the key of {approval.by} was revoked"
    if _is_one_of(key.name, authors):
        return "its builder and its author do not count"
    if "@" not in key.name and any("@" in author for author in authors):
        return f"{key.described} must be called by its owner's e-mail address, as the author of the commit is"
    return None


def _is_one_of(name: str, authors: set[str]) -> bool:
    """Whether a person is among accounts and authors of commits, which are ``Name <address>``."""
    known = {part.strip(" >").casefold() for author in authors for part in (author, *author.split("<")) if author}
    return name.casefold() in known

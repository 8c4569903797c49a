"""Who has approved which bundle for which environment."""

from __future__ import annotations

from raymlops.records.bundles import BundleManifest
from raymlops.records.ledger import Ledger, LedgerEntry
from raymlops.records.names import check_label, check_name

__all__ = ["approve_bundle", "approvers", "ledger_subject"]

_APPROVE = "approve_bundle"


def ledger_subject(digest: str) -> str:
    """The subject of a bundle's ledger entries."""
    return f"bundle:{digest}"


def approve_bundle(
    manifest: BundleManifest, environment: str, by: str, ledger: Ledger, reason: str = "", *, key_id: str | None = None
) -> LedgerEntry:
    """Record that a person approves a bundle for an environment; once is enough.

    Args:
        manifest: Of the bundle.
        environment: Where it may be deployed then.
        by: Who approves.
        ledger: Where it is recorded.
        reason: Why, for people.
        key_id: Of the API key by which it was asked for, if it was.

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
        key=f"{_APPROVE}:{environment}:{manifest.digest}:{by}",
    )


def approvers(digest: str, environment: str, ledger: Ledger) -> list[str]:
    """Who has approved a bundle for an environment, sorted."""
    approvals = (entry.evidence for entry in ledger.entries(ledger_subject(digest)) if entry.action == _APPROVE)
    return sorted({str(evidence["by"]) for evidence in approvals if evidence["environment"] == environment})

"""Delivery: which bundle is live where, what is in a bundle, how two differ, and who has approved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sources import Sources
from raymlops.errors import NotFoundError
from raymlops.records.bundles import BundleManifest
from raymlops.records.ledger import LedgerEntry

__all__ = ["bundle_differences", "bundle_page", "delivery_page"]

_ROWS = 30
_APPROVE = "approve_bundle"
_ENTRIES = 200


def delivery_page(sources: Sources, request: PageRequest) -> Page:
    """Environments by pipelines, then the newest bundles."""
    pipeline, before = (request.text(name) or None for name in ("pipeline", "before"))
    metadata = sources.metadata
    live_asked = request.ask("the metadata actor", metadata.deployments.list_live_deployments)
    bundles_asked = request.ask("the metadata actor", metadata.browser.bundle_page, pipeline, before, _ROWS)
    live, page = live_asked.get() or [], bundles_asked.need()
    digests = {each.bundle for each in live} - {each.digest for each in page.bundles}
    asked = [request.ask("the metadata actor", metadata.deployments.get_bundle, digest) for digest in sorted(digests)]
    known = {each.digest: each for each in page.bundles}
    known |= {found.digest: found for each in asked if (found := each.find()) is not None}
    named = {*(each.environment for each in live), *sources.config.delivery.environments, sources.config.environment}
    cells = {(known[each.bundle].project.name, each.environment): each for each in live if each.bundle in known}
    older = None if page.before is None else url("delivery", pipeline=pipeline, before=page.before)
    values = {
        "environments": sorted(named),
        "rules": sources.config.delivery.environments,
        "pipelines": sorted({name for name, _ in cells}),
        "cells": cells,
        "bundles": page.bundles,
        "older": older,
        "pipeline": pipeline or "",
    }
    return Page("delivery", "Delivery", values)


def bundle_page(sources: Sources, request: PageRequest) -> Page:
    """One bundle; how it differs from another one, by default the one that is live."""
    (digest,) = request.parts
    metadata, ask = sources.metadata, request.ask
    manifest = ask("the metadata actor", metadata.deployments.get_bundle, digest).need()
    name = manifest.project.name
    entries = ask("the metadata actor", metadata.browser.entry_page, f"bundle:{digest}", None, None, None, _ENTRIES)
    live_asked = ask("the metadata actor", metadata.deployments.list_live_deployments)
    others_asked = ask("the metadata actor", metadata.browser.bundle_page, name, None, _ROWS)
    others = others_asked.get()
    choices = [] if others is None else [each for each in others.bundles if each.digest != digest]
    live = [each for each in live_asked.get() or () if each.bundle in {digest, *(one.digest for one in choices)}]
    chosen = request.text("against") or next((each.bundle for each in live if each.bundle != digest), None)
    other = None if chosen is None else ask("the metadata actor", metadata.deployments.get_bundle, chosen).find()
    if request.text("against") and other is None and not ask.problems:
        raise NotFoundError(f"there is no bundle {chosen!r}")
    found = entries.get()
    values = {
        "bundle": manifest,
        "approvals": _approvals([] if found is None else found.entries),
        "rules": sources.config.delivery.environments,
        "live": [each for each in live if each.bundle == digest],
        "choices": choices,
        "other": other,
        "differences": [] if other is None else bundle_differences(other, manifest),
    }
    return Page("bundle", f"bundle {digest[:12]}", values)


def bundle_differences(before: BundleManifest, after: BundleManifest) -> list[tuple[str, str, str]]:
    """What differs between two bundles: ``(what, before, after)``; a file's content by its hash."""
    rows = []
    one, other = before.project.model_dump(mode="json"), after.project.model_dump(mode="json")
    for name, was, now in _changes(_leaves(one), _leaves(other)):
        rows.append((f"project.yaml: {name}", was, now))
    if before.lock_sha256 != after.lock_sha256:
        rows.append(("installed packages", before.lock_sha256[:12], after.lock_sha256[:12]))
    for name, was, now in _changes(before.files, after.files):
        rows.append((f"file {name}", was[:12], now[:12]))
    return rows


def _changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterable[tuple[str, str, str]]:
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield name, str(one.get(name, "-")), str(other.get(name, "-"))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _approvals(entries: Iterable[LedgerEntry]) -> dict[str, list[str]]:
    """Environment -> who has approved the bundle for it."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        if entry.action == _APPROVE:
            found.setdefault(str(entry.evidence.get("environment")), []).append(str(entry.evidence.get("by")))
    return found

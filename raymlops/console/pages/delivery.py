"""Delivery: the live bundles of environments, the content of a bundle, differences of two, and approvals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from raymlops.console.request import Page, PageRequest, url
from raymlops.console.sight import Sight, seen_bundles
from raymlops.console.sources import Sources
from raymlops.errors import NotFoundError
from raymlops.records.bundles import BundleManifest, Deployment
from raymlops.records.ledger import LedgerEntry

__all__ = ["bundle_differences", "bundle_page", "delivery_page"]

_ROWS = 30
_APPROVE = "approve_bundle"
_ENTRIES = 200


def delivery_page(sources: Sources, request: PageRequest) -> Page:
    """Environments by pipelines, then the newest bundles."""
    pipeline, before = (request.text(name) or None for name in ("pipeline", "before"))
    sight, config = request.sight, sources.config
    ask = partial(request.ask, "the metadata actor")
    page = None
    if sight.everything:
        page = ask(sources.metadata.browser.bundle_page, pipeline, before, _ROWS).need()
    cells = _cells(sources, request, () if page is None else page.bundles)
    if page is None:
        own = sorted({name for name, _ in cells} & ({pipeline} if pipeline else {name for name, _ in cells}))
        page = ask(sources.metadata.browser.bundle_page, own, before, _ROWS).need()
    named = {name for _, name in cells}
    named |= set(filter(sight.environment, [*config.delivery.environments, config.environment]))
    older = None if page.before is None else url("delivery", pipeline=pipeline, before=page.before)
    values = {
        "environments": sorted(named),
        "rules": {name: rule for name, rule in config.delivery.environments.items() if name in named},
        "pipelines": sorted({name for name, _ in cells}),
        "cells": cells,
        "bundles": ask(seen_bundles, sources, sight, page.bundles).need(),
        "older": older,
        "pipeline": pipeline or "",
    }
    return Page("delivery/index", "Delivery", values)


def _cells(
    sources: Sources, request: PageRequest, bundles: Iterable[BundleManifest]
) -> dict[tuple[str, str], Deployment]:
    """Pipeline and environment -> what is live there, as far as it is seen; ``bundles`` need not be read again."""
    stores, sight = sources.metadata.deployments, request.sight
    live = request.ask("the metadata actor", stores.list_live_deployments).get() or []
    known = {each.digest: each for each in bundles}
    unread = sorted({each.bundle for each in live} - known.keys())
    asked = [request.ask("the metadata actor", stores.get_bundle, digest) for digest in unread]
    known |= {found.digest: found for each in asked if (found := each.find()) is not None}
    projects = {digest: manifest.project for digest, manifest in known.items()}
    return {
        (projects[each.bundle].name, each.environment): each
        for each in live
        if each.bundle in projects and (sight.environment(each.environment) or sight.model(projects[each.bundle].model))
    }


def bundle_page(sources: Sources, request: PageRequest) -> Page:
    """One bundle; how it differs from another one, by default the one that is live."""
    (digest,) = request.parts
    metadata, ask = sources.metadata, request.ask
    get = partial(_seen_bundle, sources, request.sight)
    manifest = ask("the metadata actor", get, digest).need()
    name = manifest.project.name
    entries = ask("the metadata actor", metadata.browser.entry_page, f"bundle:{digest}", None, None, None, _ENTRIES)
    live_asked = ask("the metadata actor", metadata.deployments.list_live_deployments)
    others_asked = ask("the metadata actor", metadata.browser.bundle_page, name, None, _ROWS)
    others = others_asked.get()
    found = () if others is None else others.bundles
    seen = ask("the metadata actor", seen_bundles, sources, request.sight, found).get() or []
    choices = [each for each in seen if each.digest != digest]
    live = [each for each in live_asked.get() or () if each.bundle in {digest, *(one.digest for one in choices)}]
    chosen = request.text("against") or next((each.bundle for each in live if each.bundle != digest), None)
    other = None if chosen is None else ask("the metadata actor", get, chosen).find()
    if request.text("against") and other is None and not ask.problems:
        raise NotFoundError(f"there is no bundle {chosen!r}")
    told = entries.get()

    def is_shown(environment: str) -> bool:
        return request.sight.model(manifest.project.model) or request.sight.environment(environment)

    values = {
        "bundle": manifest,
        "approvals": {
            name: who for name, who in _approvals([] if told is None else told.entries).items() if is_shown(name)
        },
        "rules": {name: rule for name, rule in sources.config.delivery.environments.items() if is_shown(name)},
        "live": [each for each in live if each.bundle == digest and is_shown(each.environment)],
        "choices": choices,
        "other": other,
        "differences": [] if other is None else bundle_differences(other, manifest),
    }
    return Page("delivery/bundle", f"bundle {digest[:12]}", values)


def _seen_bundle(sources: Sources, sight: Sight, digest: str) -> BundleManifest:
    """A bundle; one that is not to be seen is not told from one that does not exist."""
    manifest = sources.metadata.deployments.get_bundle(digest)
    if not seen_bundles(sources, sight, [manifest]):
        raise NotFoundError(f"bundle {digest!r} does not exist", digest=digest)
    return manifest


def bundle_differences(before: BundleManifest, after: BundleManifest) -> list[tuple[str, str, str]]:
    """Differences of two bundles: ``(what, before, after)``; a file's content by its hash."""
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
    """Environment -> people who have approved the bundle for it."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        if entry.action == _APPROVE:
            found.setdefault(str(entry.evidence.get("environment")), []).append(str(entry.evidence.get("by")))
    return found

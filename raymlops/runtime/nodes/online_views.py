"""Online features that endpoints need, brought back where they were lost."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from raymlops.errors import RaymlopsError
from raymlops.records.plans import ServingPlan

if TYPE_CHECKING:
    from raymlops.features.replication.leader import LeadingStore

__all__ = ["materialise_lost"]

_log = logging.getLogger(__name__)


def materialise_lost(plans: Iterable[ServingPlan], store: LeadingStore | Any) -> list[str]:
    """Materialise what is planned to be joined online, has rows, and is not in the online store at all.

    A view that lags behind its table is left as it is: when it is brought up to date is its owner's to say.

    Args:
        plans: Of the models that are served.
        store: The writer of features.

    Returns:
        The views that were materialised, by name.
    """
    services = sorted({plan.service for plan in plans if plan.served and plan.service is not None})
    if not services:
        return []
    state, done = store.definitions(), store.progress().watermarks
    lost: dict[str, str] = {}
    for service in services:
        try:
            views = state.resolve(service).views
        except RaymlopsError as error:  # its endpoint says so, too
            _log.warning("feature service %s is served and not applied: %s", service, error)
            continue
        lost |= {one.view.ref: one.table for one in views if one.view.online and one.view.ref not in done}
    back = []
    for ref, table in sorted(lost.items()):
        if not store.has_table(table):
            continue
        try:
            store.materialize(ref)
        except RaymlopsError as error:
            _log.warning("view %s is not in the online store, next try follows: %s", ref, error)
        else:
            back.append(ref)
    return back

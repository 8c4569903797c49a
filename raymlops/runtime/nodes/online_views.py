"""Online features that endpoints need, brought back where they were lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from raymlops.errors import RaymlopsError
from raymlops.records.plans import ServingPlan

if TYPE_CHECKING:
    from raymlops.features.replication.leader import LeadingStore

__all__ = ["materialise_lost"]

_log = logging.getLogger(__name__)


def materialise_lost(plans: Iterable[ServingPlan], store_of: Callable[[str | None], LeadingStore | Any]) -> list[str]:
    """Materialise what is planned to be joined online, has rows, and is not in the online store at all.

    A view that lags behind its table is left as it is: when it is brought up to date is its owner's to say.

    Args:
        plans: Of the models that are served.
        store_of: Environment -> the writer of its features.

    Returns:
        The views that were materialised, by name.
    """
    services: dict[str | None, set[str]] = {}
    for plan in plans:
        if plan.served and plan.service is not None:
            services.setdefault(plan.environment, set()).add(plan.service)
    back = []
    for environment, served in services.items():
        where = "" if environment is None else f" of {environment}"
        back += [f"{view}{where}" for view in _materialised(sorted(served), store_of(environment))]
    return back


def _materialised(services: list[str], store: LeadingStore | Any) -> list[str]:
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

"""Withdrawal of definitions that were applied and that nothing needs."""

from __future__ import annotations

from collections.abc import Callable, Collection

from raymlops.features.catalog.applied import AppliedView, CatalogState, table_name
from raymlops.features.definitions.views import Entity

__all__ = ["without"]


def without(state: CatalogState, labels: Collection[str], holds_rows: Callable[[str], bool]) -> CatalogState:
    """The definitions but for some, as far as nothing that stays needs them.

    Args:
        state: What is applied.
        labels: What is to go, as an ``ApplyReport`` names it: ``view loads@2``.
        holds_rows: Whether there is a table of this name; the view that owns it stays.
    """
    gone = set(labels)
    services = {ref: each for ref, each in state.services.items() if f"service {ref}" not in gone}
    pinned = {ref for each in services.values() for ref in each.pins.values()}
    on_demand = {
        ref: each for ref, each in state.on_demand.items() if _stays(f"on-demand view {ref}", ref, gone, pinned)
    }
    pinned |= {ref for each in on_demand.values() for ref in each.pins.values()}
    tables = {ref for ref, each in state.views.items() if each.owner == ref and holds_rows(table_name(each.view))}
    views = dict(state.views)
    while True:  # a view that stays may need another one, which then stays as well
        needed = pinned | tables | {ref for other in views.values() for ref in _needs(other)}
        left = {ref: each for ref, each in views.items() if _stays(f"view {ref}", ref, gone, needed)}
        if left == views:
            break
        views = left
    used = {each.view.entity.name for each in views.values() if isinstance(each.view.entity, Entity)}
    entities = {name: each for name, each in state.entities.items() if _stays(f"entity {name}", name, gone, used)}
    return CatalogState(entities=entities, views=views, services=services, on_demand=on_demand)


def _stays(label: str, reference: str, gone: Collection[str], needed: Collection[str]) -> bool:
    return label not in gone or reference in needed


def _needs(applied: AppliedView) -> set[str]:
    """References of the other views that an applied view reads or continues."""
    return {ref for ref in (applied.owner, applied.view.continues) if ref is not None and ref != applied.view.ref}

"""Which page stands under which address, and the navigation."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from raymlops.console.pages import delivery, features, ledger, lineage, loop, model, monitoring, policy, runs, system
from raymlops.console.request import Page, PageRequest
from raymlops.console.sources import Sources

__all__ = ["NAVIGATION", "find_page"]

NAVIGATION = (
    ("", "Loop"),
    ("models", "Models"),
    ("monitoring", "Monitoring"),
    ("features", "Features"),
    ("runs", "Runs"),
    ("lineage", "Lineage"),
    ("delivery", "Delivery"),
    ("ledger", "Ledger"),
    ("system", "System"),
)
"""First part of the address -> what the page is called."""

PageFunction = Callable[[Sources, PageRequest], Page]

_NAME = r"([^/]+)"
_ROUTES: tuple[tuple[str, PageFunction], ...] = (
    (r"", loop.loop_page),
    (r"models", model.models_page),
    (rf"models/{_NAME}", model.model_page),
    (rf"models/{_NAME}/([0-9]{{1,9}})", model.card_page),
    (r"monitoring", monitoring.models_page),
    (rf"monitoring/{_NAME}", monitoring.report_page),
    (r"runs", runs.runs_page),
    (r"runs/compare", runs.compare_page),
    (rf"runs/{_NAME}", runs.run_page),
    (r"features", features.features_page),
    (rf"features/{_NAME}", features.feature_page),
    (r"lineage", lineage.lineage_page),
    (rf"lineage/request/{_NAME}", lineage.request_page),
    (rf"lineage/{_NAME}/{_NAME}", lineage.node_page),
    (r"delivery", delivery.delivery_page),
    (rf"delivery/bundles/{_NAME}", delivery.bundle_page),
    (rf"policy/{_NAME}", policy.policy_page),
    (r"system", system.system_page),
    (r"ledger", ledger.ledger_page),
    (r"ledger/verify", ledger.verify_page),
    (r"ledger/([0-9]{1,18})", ledger.entry_page),
)
_COMPILED = tuple((re.compile(pattern), function) for pattern, function in _ROUTES)


def find_page(path: str) -> tuple[PageFunction, tuple[str, ...]] | None:
    """The page under an address below the console's own, and what the address names; ``None`` where there is none.

    Args:
        path: As it was sent: what is quoted in it is part of a name.
    """
    for pattern, function in _COMPILED:
        if (found := pattern.fullmatch(path)) is not None:
            return function, tuple(map(unquote, found.groups()))
    return None

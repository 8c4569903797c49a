"""Which page stands under which address, and the navigation."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple
from urllib.parse import unquote

from raymlops.console.pages import delivery, features, ledger, lineage, loop, model, monitoring, policy, runs, system
from raymlops.console.request import Page, PageRequest
from raymlops.console.sources import Sources

__all__ = ["NAVIGATION", "ROUTES", "Route", "find_page"]

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


class Route(NamedTuple):
    """Pages of one kind.

    Attributes:
        pattern: Their addresses; what they name is in groups.
        page: Makes one.
        about: ``model``: about the model that the address names first, and about no other; ``platform``: about all, for
            who may read all; ``seen``: shows every viewer what the grants of the key allow, and nothing else.
    """

    pattern: str
    page: PageFunction
    about: Literal["model", "platform", "seen"]


ROUTES = (
    Route(r"", loop.loop_page, "seen"),
    Route(r"models", model.models_page, "seen"),
    Route(rf"models/{_NAME}", model.model_page, "model"),
    Route(rf"models/{_NAME}/([0-9]{{1,9}})", model.card_page, "model"),
    Route(r"monitoring", monitoring.models_page, "seen"),
    Route(rf"monitoring/{_NAME}", monitoring.report_page, "model"),
    Route(r"runs", runs.runs_page, "seen"),
    Route(r"runs/compare", runs.compare_page, "seen"),
    Route(rf"runs/{_NAME}", runs.run_page, "seen"),
    Route(r"features", features.features_page, "seen"),
    Route(rf"features/{_NAME}", features.feature_page, "seen"),
    Route(r"lineage", lineage.lineage_page, "seen"),
    Route(rf"lineage/request/{_NAME}", lineage.request_page, "seen"),
    Route(rf"lineage/{_NAME}/{_NAME}", lineage.node_page, "seen"),
    Route(r"delivery", delivery.delivery_page, "seen"),
    Route(rf"delivery/bundles/{_NAME}", delivery.bundle_page, "seen"),
    Route(rf"policy/{_NAME}", policy.policy_page, "model"),
    Route(r"system", system.system_page, "platform"),
    Route(r"ledger", ledger.ledger_page, "seen"),
    Route(r"ledger/verify", ledger.verify_page, "platform"),
    Route(r"ledger/([0-9]{1,18})", ledger.entry_page, "seen"),
)
"""Every page of the console."""
_COMPILED = tuple((re.compile(route.pattern), route) for route in ROUTES)


def find_page(path: str) -> tuple[Route, tuple[str, ...]] | None:
    """The page under an address below the console's own, and what the address names; ``None`` where there is none.

    Args:
        path: As it was sent: what is quoted in it is part of a name.
    """
    for pattern, route in _COMPILED:
        if (found := pattern.fullmatch(path)) is not None:
            return route, tuple(map(unquote, found.groups()))
    return None

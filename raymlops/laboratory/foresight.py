"""The policy of a model that says nothing: it weighs what staleness costs against the price of a retraining. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from raymlops.laboratory import DEFAULT_PRICE
from raymlops.laboratory.simulation import History
from raymlops.laboratory.staleness import Staleness
from raymlops.laboratory.weighing import NOISE, Weighed, weigh_staleness
from raymlops.records.shown import shown

__all__ = ["ForesightPolicy", "default_policy"]


@shown(line=False)
@dataclass(frozen=True)
class ForesightPolicy:
    """Retrains when the next window is expected to cost more than the best rhythm, and staleness has cost the price.

    ``laboratory.weighing`` says how the two are weighed.

    Attributes:
        price: Of a retraining, in losses of one window; the one number that a user sets.
        z: So many standard errors are taken off a model's own regret: noise must not add up.
    """

    price: float = DEFAULT_PRICE
    z: float = NOISE
    name: str = "default"

    def decide(self, history: History) -> bool:
        return self.weigh(history).retrain

    def weigh(self, history: History) -> Weighed:
        """Weigh the regret of the serving model against the price of a retraining."""
        return self.judge(history.staleness(), history.serving - history.oldest)

    def judge(self, known: Staleness, serving: int) -> Weighed:
        """The decision, from what is known.

        Args:
            known: Regrets of the models and windows until now.
            serving: Row of the serving model.
        """
        return weigh_staleness(known, serving, price=self.price, z=self.z)


def default_policy(price: float = DEFAULT_PRICE) -> ForesightPolicy:
    """The default policy of a model.

    Args:
        price: Of a retraining, in losses of one window.
    """
    return ForesightPolicy(price)

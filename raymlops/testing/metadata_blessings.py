"""Contract of the gate of promotion: what came out of a run is served with all three blessings, or not at all."""

from __future__ import annotations

import pytest

from raymlops.errors import InvalidTransition
from raymlops.metadata import Metadata
from raymlops.records.learning.blessings import BLESSINGS, Blessing, BlessingKind
from raymlops.records.models import ModelVersion
from raymlops.records.plans import Trial
from raymlops.testing.metadata_examples import example_draft, example_plan

__all__ = ["BlessingContract", "example_blessings"]

_RUN = {"run_id": "run-1", "training_set": "3" * 64}


def example_blessings(**changes: Blessing | None) -> tuple[Blessing, ...]:
    """All three, about a version of the run of these examples; one that is changed to ``None`` is left out."""
    subjects = {"data": "3" * 64, "evaluation": "3" * 64, "infrastructure": "1" * 64}
    granted: dict[str, Blessing | None] = {
        kind: Blessing(kind=kind, granted=True, subject=subjects[kind], reason="of the test") for kind in BLESSINGS
    }
    return tuple(blessing for blessing in {**granted, **changes}.values() if blessing is not None)


def _register(metadata: Metadata, key: str, **changes: object) -> ModelVersion:
    return metadata.models.register_version(example_draft().model_copy(update=changes), key=key)


class BlessingContract:
    """What every store of plans and aliases does about blessings."""

    @pytest.mark.parametrize("kind", BLESSINGS)
    @pytest.mark.parametrize("wrong", ["missing", "refused", "another subject"])
    def test_without_one_of_the_blessings_nothing_is_promoted(
        self, metadata: Metadata, kind: BlessingKind, wrong: str
    ) -> None:
        champion = _register(metadata, "by hand")
        stands = next(blessing for blessing in example_blessings() if blessing.kind == kind)
        changed = {
            "missing": None,
            "refused": stands.model_copy(update={"granted": False, "reason": "not good enough"}),
            "another subject": stands.model_copy(update={"subject": "9" * 64}),
        }[wrong]
        candidate = _register(metadata, "run-1", blessings=example_blessings(**{kind: changed}), **_RUN)
        metadata.plans.put_plan(example_plan(1).model_copy(update={"trial": None}))
        metadata.models.set_alias("churn", "champion", champion.version, expected=None, reason="first")
        plan = example_plan(2).model_copy(update={"trial": None, "champion": candidate.version, "backup": 1})
        on_trial = example_plan(2).model_copy(update={"trial": Trial(version=candidate.version)})
        reason = f"version 2 of 'churn' cannot be promoted: the {kind} blessing"
        for refused in (plan, on_trial):
            with pytest.raises(InvalidTransition, match=reason):
                metadata.plans.put_plan(refused)
        with pytest.raises(InvalidTransition, match="cannot be promoted"):
            metadata.models.set_alias("churn", "champion", candidate.version, expected=1, reason="promoted")
        assert metadata.plans.get_plan("churn").number == 1
        assert metadata.models.aliases("churn") == {"champion": 1}

    def test_with_all_three_it_is(self, metadata: Metadata) -> None:
        _register(metadata, "run-1", blessings=example_blessings(), **_RUN)
        plan = example_plan(1).model_copy(update={"trial": None})
        assert metadata.plans.put_plan(plan) == plan
        metadata.models.set_alias("churn", "champion", 1, expected=None, reason="promoted")

    def test_a_version_registered_by_hand_is_promoted_on_its_users_word(self, metadata: Metadata) -> None:
        assert _register(metadata, "by hand").unblessed == []
        metadata.plans.put_plan(example_plan(1).model_copy(update={"trial": None}))
        metadata.models.set_alias("churn", "champion", 1, expected=None, reason="promoted")

    def test_what_is_served_already_may_go_on_and_be_fallen_back_to(self, metadata: Metadata) -> None:
        """As after an upgrade: the champion is of a run that knew no blessings."""
        _register(metadata, "by hand")
        for number in (1, 2):
            metadata.plans.put_plan(example_plan(number, champion=7 + number).model_copy(update={"backup": 9 - number}))
        # versions 7 to 10 did not exist when their plans were written; now they do, without a blessing
        for number in range(2, 11):
            _register(metadata, f"run-{number}", **_RUN)
        fallen_back = example_plan(3).model_copy(update={"champion": 7, "backup": None, "trial": None})
        assert metadata.plans.put_plan(fallen_back).champion == 7

"""What is reported: figures that agree with each other, a page that runs nothing."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from raymlops.errors import ConfigError
from raymlops.laboratory import LossMatrix, MatrixFacts, Schedule, compare_policies, oracle
from tests.unit.laboratory.examples import FIRST, ageing, drifting_table


def test_json_has_what_is_promised_and_agrees_with_itself() -> None:
    report = compare_policies(ageing(count=12, slope=0.05), price=0.05)
    facts = json.loads(json.dumps(report.to_dict()))
    assert facts["windows"] == 12
    assert facts["every_window"] == pytest.approx(1.0)
    assert facts["never"] == pytest.approx(1 + 0.05 * 5.5)
    assert [point["retrainings"] for point in facts["frontier"]] == list(range(12))
    assert facts["frontier"][0]["loss"] == pytest.approx(facts["never"])
    assert facts["oracle"] == pytest.approx(oracle(report.matrix, 0.05).loss)
    for name in ("never", "every window", "performance", "regret", "default", "oracle"):
        policy = facts["policies"][name]
        assert policy["retrainings"] == len(policy["at"]) == len(policy["firings"])
        assert policy["excess"] >= -1e-12
        assert {"loss", "gain_share", "cost"} <= set(policy)
    assert facts["recommended"] == "default"
    assert "retrains" in facts["reason"]


def test_models_that_do_not_age_are_kept() -> None:
    report = compare_policies(ageing(count=12, slope=0.0))
    assert report.recommended == "never"
    assert "does not go stale enough" in report.reason


@pytest.mark.parametrize("price", [0.0, 0.05])
def test_models_that_never_err_are_kept_for_nothing(price: float) -> None:
    losses = {(i, j): np.zeros(4) for j in range(10) for i in range(j + 1)}
    report = compare_policies(LossMatrix.from_losses(losses, first=FIRST), price=price)
    assert report.recommended == "never"
    assert report.oracle.cost(price) == 0
    assert report.to_dict()["policies"]["never"]["excess"] == 0
    assert "never" in report.to_html()


def test_a_policy_of_ones_own_stands_beside_the_others() -> None:
    report = compare_policies(ageing(), own=[Schedule((FIRST + 2,), name="mine")])
    assert report.outcomes["mine"].retrainings == (FIRST + 2,)
    assert "mine" in set(report.to_pandas().policy)
    with pytest.raises(ConfigError, match=r"distinct names other than 'oracle', got \['never'\]"):
        compare_policies(ageing(), own=[Schedule((4,), name="never")])


@pytest.mark.parametrize("price", [-0.1, float("nan")])
def test_a_price_below_zero_is_refused(price: float) -> None:
    with pytest.raises(ConfigError, match="price must not be negative"):
        compare_policies(ageing(), price=price)


def test_the_frame_begins_with_the_cheapest_and_nothing_is_cheaper_than_the_oracle() -> None:
    frame = compare_policies(ageing()).to_pandas()
    assert frame.cost.is_monotonic_increasing
    assert frame.cost[0] == pytest.approx(frame.cost[frame.policy == "oracle"].item())


def page_of(matrix: LossMatrix, title: str = "Policy laboratory") -> str:
    return compare_policies(matrix, title=title).to_html()


def test_the_page_runs_no_script_and_styles_nothing_in_place() -> None:
    page = page_of(ageing(), title="<script>alert(1)</script>")
    assert "<script" not in page
    assert " style=" not in page
    assert "default-src 'none'; style-src 'sha256-" in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_policy_of_the_page_is_the_digest_of_its_style_sheet() -> None:
    import base64
    import hashlib

    page = page_of(ageing())
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (told,) = re.findall(r"style-src 'sha256-([^']+)'", page)
    assert told == base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def test_the_page_of_a_table_has_its_dates_and_its_notes() -> None:
    matrix = LossMatrix.fit(drifting_table(rows=25), label="answer", event_time="at", first=3)
    page = page_of(matrix)
    assert "22 Jan 2024" in page
    assert "Quality against compute" in page
    assert "drift" in page


def test_pages_of_odd_matrices_are_drawn() -> None:
    nothing = {(i, j): np.zeros(2) for j in range(4) for i in range(j + 1)}
    empty = {(i, j): np.ones(0 if j == 2 else 3) for j in range(5) for i in range(j + 1)}
    two = LossMatrix({(0, 0): np.ones(1), (0, 1): np.ones(1), (1, 1): np.ones(1)}, first=0, facts=MatrixFacts())
    for matrix in (LossMatrix.from_losses(nothing, first=0), LossMatrix.from_losses(empty, first=0), two):
        page = page_of(matrix)
        assert "nan" not in page.replace("explanation", "")

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymlops.errors import ModelLoadFailed
from raymlops.serving import Model, load_model
from raymlops.serving.plans.loader import Loader
from raymlops.serving.plans.recorded_requests import RecordedRequests
from raymlops.serving.plans.rehearsal import rehearse


@pytest.fixture
def model(model_root: Path, manifests: Any, versions: Any) -> Model:
    return load_model(model_root / "1", manifests[1], versions.get_version("delay", 1).digest)


@pytest.fixture
def request_of(helpers: Any) -> Callable[..., dict[str, Any]]:
    def make(rows: int = 2, **columns: Any) -> dict[str, Any]:
        return {name: np.full(rows, 5.0) for name in helpers.INPUTS} | columns

    return make


def test_a_sample_is_bounded_and_the_newest(request_of: Callable[..., dict[str, Any]]) -> None:
    recorded = RecordedRequests(capacity=3, max_rows=4, every_s=0.0)
    assert recorded.sample() == ()
    for number in range(10):
        recorded.offer(request_of(rows=100, hour=np.full(100, float(number))))
    kept = recorded.sample()
    assert [len(columns["hour"]) for columns in kept] == [4, 4, 4]
    assert [columns["hour"][0] for columns in kept] == [7.0, 8.0, 9.0]


def test_a_kept_request_is_a_copy(request_of: Callable[..., dict[str, Any]]) -> None:
    recorded = RecordedRequests(every_s=0.0)
    columns = request_of()
    recorded.offer(columns)
    columns["hour"][:] = np.nan
    assert recorded.sample()[0]["hour"].tolist() == [5.0, 5.0]


def test_a_busy_replica_copies_few(request_of: Callable[..., dict[str, Any]]) -> None:
    recorded = RecordedRequests(every_s=3600.0)
    for _ in range(100):
        recorded.offer(request_of())
    assert len(recorded.sample()) == 1


def test_a_request_of_much_text_is_not_kept(request_of: Callable[..., dict[str, Any]]) -> None:
    recorded = RecordedRequests(every_s=0.0, max_bytes=1000)
    recorded.offer(request_of(hour=np.array(["x" * 2000, None], dtype=object)))
    assert recorded.sample() == ()
    recorded.offer(request_of(hour=np.array(["x" * 200, None], dtype=object)))
    assert len(recorded.sample()) == 1


def test_a_good_model_passes(model: Model, request_of: Callable[..., dict[str, Any]]) -> None:
    assert rehearse(model, [request_of(), request_of(rows=1, extra=np.array([1.0]))]) is None
    assert rehearse(model, []) is None


def test_what_does_not_fit_the_model_is_left_out(model: Model, request_of: Callable[..., dict[str, Any]]) -> None:
    lacking = request_of()
    del lacking["hour"]
    text = request_of(hour=np.array(["a", "b"], dtype=object))
    calls: list[int] = []

    class Counting:
        schema = model.schema

        def predict(self, columns: Any) -> Any:
            calls.append(len(columns["hour"]))
            return model.predict(columns)

    assert rehearse(Counting(), [lacking, text, request_of(rows=3)]) is None  # type: ignore[arg-type]
    assert calls == [3]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (ValueError("worn out"), "recorded request 1 of 2: raised ValueError: worn out"),
        ({"value": np.array([1.0, np.nan])}, "recorded request 1 of 2: answered NaN or infinity"),
        ({"value": np.array([1.0])}, "recorded request 1 of 2: answered outputs of the wrong shape for 2 rows"),
    ],
)
def test_what_went_wrong_is_said(
    model: Model, request_of: Callable[..., dict[str, Any]], answer: Any, problem: str
) -> None:
    class Bad:
        schema = model.schema

        def predict(self, columns: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    assert rehearse(Bad(), [request_of(), request_of()]) == problem  # type: ignore[arg-type]


def test_a_champion_that_cannot_answer_what_is_asked_is_refused(
    helpers: Any, versions: Any, request_of: Callable[..., dict[str, Any]]
) -> None:
    """Its example passes; what callers send does not. The old plan goes on."""
    loader = Loader(versions, helpers.FakeOnline(), helpers.FakeCandidate())
    current = loader.load(helpers.make_plan(champion=1))
    huge = request_of(distance=np.full(2, 1e300))
    with pytest.raises(ModelLoadFailed, match="version 2 does not answer: recorded request 2 of 2: raised DataError"):
        loader.load(helpers.make_plan(number=2, champion=2, backup=1), current, [request_of(), huge])
    good = loader.load(helpers.make_plan(number=2, champion=2, backup=1), current, [request_of()])
    assert good.champion.version == 2
    assert good.backup is current.champion  # loaded versions are not rehearsed again


def test_a_loaded_version_can_be_checked_again(helpers: Any, versions: Any) -> None:
    loader = Loader(versions, helpers.FakeOnline(), helpers.FakeCandidate())
    champion, other = (loader.load(helpers.make_plan(champion=version)).champion for version in (1, 2))
    assert champion.problem() is None
    assert champion.parity is not None
    assert not champion.parity.holds(other.model)

"""What the platform asks of a model flavor: a library's estimators, from the search to the answers in production."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, Protocol

import numpy.typing as npt
import pyarrow as pa

from raymlops.errors import DataError, SchemaMismatch
from raymlops.records.learning.labels import label_text

if TYPE_CHECKING:
    from raymlops.records.learning.signatures import Signature
    from raymlops.records.learning.tasks import LearningTask

__all__ = [
    "Array",
    "Columns",
    "Description",
    "Family",
    "FitRows",
    "Flavor",
    "Outcome",
    "Outputs",
    "Predictor",
    "RoundReport",
    "Task",
    "check_classes",
    "inputs_of",
    "refuse_outputs",
]

Task = Literal["classifier", "regressor"]
Array = npt.NDArray[Any]
Columns = Mapping[str, Array]
"""Model inputs, each of length N: numbers (NaN is missing) or an object array of ``str | None``."""
Outputs = dict[str, npt.NDArray[Any]]
"""What a model answers: ``label`` [N] and ``probability`` [N, classes], or ``value`` [N]."""
RoundReport = Callable[[int, float], bool]
"""``(rounds, loss on the validation rows) -> whether to go on``; called after each round of boosting."""


class Description(NamedTuple):
    """What a fitted estimator is.

    Attributes:
        task: Whether it answers classes or values.
        inputs: In the order it was fitted on.
        classes: In the order of its probabilities; empty for a regressor.
        libraries: Distributions that read its file.
    """

    task: Task
    inputs: tuple[str, ...]
    classes: tuple[str | int | float | bool, ...]
    libraries: tuple[str, ...]


class Predictor(Protocol):
    """A loaded model on one thread of its library. Immutable: many threads may ask at once."""

    @property
    def dtype(self) -> type:
        """NumPy type of the matrix that ``score`` takes."""
        ...

    @property
    def framed(self) -> bool:
        """Whether ``score`` takes columns by name, and not a matrix."""
        ...

    @property
    def takes_missing(self) -> bool:
        """Whether every input may be missing; where not, the example tells which may."""
        ...

    @property
    def encoders(self) -> Mapping[int, Mapping[Any, float]]:
        """Place of a categorical input -> its categories, texts or numbers, and the codes that the matrix holds."""
        ...

    @property
    def score(self) -> Callable[[Any], Array]:
        """From a matrix [N, inputs], or from ``Columns``, to P(class 1) [N], [N, classes] or values [N]."""
        ...

    def importances(self) -> Sequence[float] | None:
        """A weight per input, in their order; ``None`` where the model knows none."""
        ...


class Flavor(Protocol):
    """A library's models: recognised, packaged without pickle, loaded, asked. Stateless.

    Attributes:
        name: As manifests have it.
        file: Name of the model's file in a package; begins with ``model.``.
        libraries: Distributions whose versions change what is fitted or answered.
        families: What a search may draw from, by name.
    """

    name: str
    file: str
    libraries: tuple[str, ...]
    families: Mapping[str, Family]

    def owns(self, estimator: Any) -> bool:
        """Whether an estimator is of this flavor. Imports no library."""
        ...

    def read(self, estimator: Any) -> Any:
        """What is described, dumped and asked: the estimator, or what the file holds that it names, read once.

        Raises:
            DataError: The file cannot be read.
        """
        ...

    def describe(self, estimator: Any, columns: Sequence[str]) -> Description:
        """Describe a fitted estimator.

        Args:
            estimator: One that ``owns`` recognises.
            columns: Those of its example; they name the inputs of an estimator fitted on a bare matrix.

        Raises:
            SchemaMismatch: The columns are not the estimator's inputs.
            DataError: It is not fitted, or of a kind that is not served.
        """
        ...

    def dump(self, estimator: Any) -> bytes:
        """The bytes of its file, equal for equal estimators.

        Raises:
            DataError: It holds what a package must not hold.
        """
        ...

    def parse(self, content: bytes) -> Any:
        """What ``dump`` wrote, from bytes whose hash was verified. Raises whatever the library raises."""
        ...

    def predictor(self, loaded: Any, signature: Signature, example: pa.Table) -> Predictor:
        """What answers requests.

        Args:
            loaded: As ``parse`` gave it.
            signature: What the model takes and gives.
            example: Rows it was packaged with, its inputs alone; their schema tells the dtypes and the categories of
                the frame that it was fitted on.

        Raises:
            SchemaMismatch: A text input has no categories in the model.
        """
        ...

    def answers(self, estimator: Any, task: Task, frame: Any) -> Array:
        """What the estimator itself answers, by its library's own path: the packaged model is held against it.

        Args:
            estimator: As ``read`` gave it.
            task: Of the estimator.
            frame: The caller's own rows, a frame of pandas in the dtypes of the fit.
        """
        ...

    def inputs(self, estimator: Any, frame: Any) -> Any:
        """Rows of a frame that has categories, as the ``predict`` of a fitted estimator takes them.

        Args:
            estimator: Fitted by one of the flavor's families.
            frame: As ``FitRows.inputs``.
        """
        ...

    def staged(self, estimator: Any, inputs: Any, task: Task, points: Callable[[int], Sequence[int]]) -> Staged:
        """Predictions after some numbers of boosting rounds; empty for an estimator without rounds.

        Args:
            estimator: Fitted by one of the flavor's families.
            inputs: [N, inputs], or what ``inputs`` gave.
            task: Of the estimator.
            points: Total number of rounds -> those to look at.
        """
        ...

    def save_for_mlflow(self, loaded: Any, options: Mapping[str, Any]) -> None:
        """Write the model in MLflow's own flavor of the library.

        Args:
            loaded: As ``parse`` gave it.
            options: ``path``, ``mlflow_model``, ``signature`` and ``pip_requirements`` of MLflow's ``save_model``.
        """
        ...


class Family(Protocol):
    """Estimators that a search may draw, of one class each for classification and regression. Stateless."""

    def build(self, params: Mapping[str, object], *, seed: int, task: LearningTask) -> Any:
        """An unfitted estimator on one thread, for only so is it the same twice.

        Raises:
            ConfigError: No such parameter, or the library is not installed.
        """
        ...

    def fit(self, estimator: Any, rows: FitRows, report: RoundReport | None, task: LearningTask) -> Outcome:
        """Fit it in place.

        Args:
            estimator: From ``build``.
            rows: What it is fitted on.
            report: Hears of every round of boosting, and may end the fit; needs ``rows.watched``.
            task: What is learned.

        Raises:
            ConfigError: It takes no weights, or needs validation rows and has none.
        """
        ...


class FitRows(NamedTuple):
    """What an estimator is fitted on.

    Attributes:
        inputs: [N, inputs] floats; or, where the task has categories, a frame of pandas: floats and texts.
        labels: [N].
        weights: [N], or ``None``: all weigh the same.
        watched: Inputs and labels of the validation rows.
    """

    inputs: Any
    labels: Array
    weights: Array | None = None
    watched: tuple[Any, Array] | None = None


class Outcome(NamedTuple):
    """How a fit ended.

    Attributes:
        best_iteration: How many rounds of boosting were best on the validation rows, where it stops early.
        stopped_at: After how many rounds a report ended the fit, where one did.
    """

    best_iteration: int | None = None
    stopped_at: int | None = None


Staged = list[tuple[int, Array]]
"""Rounds, and predictions after them: [N, classes] or [N]."""


def refuse_outputs(count: int) -> NoReturn:
    """Say that an estimator of several outputs is none that is served."""
    rule = "an estimator must answer one value or one label for a row"
    if count == 1:
        raise DataError(f"{rule}, got a list of 1: fit it on labels that are no column", outputs=count)
    raise DataError(f"{rule}, got {count}: register an estimator for each", outputs=count)


def check_classes(classes: Sequence[Any]) -> None:
    """Refuse classes that no request, event or label can name.

    Raises:
        DataError: There is one only, one is neither text, number nor bool, or labels could not tell two of them apart.
    """
    known = list(classes)
    odd = [value for value in known if not isinstance(value, str | int | float) or str(value) == "nan"]
    if odd:
        raise DataError(f"a class must be a text, a number or a bool, got {type(odd[0]).__name__} {str(odd[0])!r}")
    if len(known) < 2:
        raise DataError(f"a classifier must know at least two classes, got {known}: its training rows had no other")
    named: dict[str, Any] = {}
    for value in known:
        other = named.setdefault(label_text(value), value)
        if other is not value:
            raise DataError(f"classes must differ as the texts of labels do, {other!r} and {value!r} do not")


def inputs_of(names: Sequence[str] | None, count: int | None, columns: Sequence[str]) -> tuple[str, ...]:
    """The inputs in the estimator's order, from its own names or number of them and from its example's columns.

    Raises:
        SchemaMismatch: The columns are not the estimator's inputs.
    """
    if len(set(columns)) != len(columns):
        raise SchemaMismatch(f"example must name each column once, got {list(columns)}")
    if names is not None:
        if set(names) != set(columns):
            raise SchemaMismatch(f"example must have the columns {list(names)}, got {list(columns)}")
        return tuple(names)
    if count is not None and count != len(columns):
        raise SchemaMismatch(f"example must have the estimator's {count} columns, got {len(columns)}")
    return tuple(columns)

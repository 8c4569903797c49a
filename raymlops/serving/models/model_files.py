"""Models on disk: native formats, no pickle, and no byte parsed whose hash is not the manifest's.

A model directory holds the model (``model.`` and what its flavor adds), ``example.arrow`` (a few input rows),
``expected.json`` (what the model answers for them) and ``manifest.json``. Loading predicts the example, which warms the
model up, and compares: a library that reads the file in another way is found out before the first request.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from raymlops.errors import (
    AlreadyRegistered,
    DataError,
    DeploymentError,
    ModelLoadFailed,
    RaymlopsError,
    SchemaMismatch,
    StorageError,
)
from raymlops.flavors import flavor_named, flavor_of, parse
from raymlops.flavors.frames import GivenRows, is_frame, with_one_missing
from raymlops.flavors.guard import foreign_errors
from raymlops.flavors.protocol import Array, Columns, Flavor, Outputs, Task, check_classes, refuse_outputs
from raymlops.records.learning.signatures import ColumnSpec, Signature
from raymlops.records.models import ModelManifest
from raymlops.records.record import sha256_of
from raymlops.scratch import sync, write_synced
from raymlops.serving.models.arrow_inputs import datatype_of_arrow
from raymlops.serving.models.example import answer_example
from raymlops.serving.models.input_names import check_input_names
from raymlops.serving.models.model import Model, ServedModel, columns_of
from raymlops.tables.columns import as_table

__all__ = ["Parity", "load_checked", "load_model", "save_model"]

EXAMPLE, EXPECTED, MANIFEST = "example.arrow", "expected.json", "manifest.json"
EXAMPLE_ROWS = 16
TOLERANCE = 1e-5
_SUM_TOLERANCE = 1e-3


@foreign_errors("the estimator cannot be packaged")
def save_model(directory: Path, estimator: Any, *, example: Any) -> ModelManifest:
    """Package a fitted estimator; the directory appears whole or not at all.

    Args:
        directory: Must not be there yet, but for a repeat that gives the same bytes.
        estimator: Of any flavor: of XGBoost, LightGBM or scikit-learn, or the path of an ``.onnx`` file.
        example: At least one row of the model's inputs, a table of Arrow or a frame of pandas: gives the signature, and
            the dtypes, categories and missing markers that the model was fitted with.

    Returns:
        The manifest; ``sha256_of`` it is the model's digest.

    Raises:
        SchemaMismatch: The example does not fit the estimator.
        DataError: The estimator cannot be packaged or served.
        AlreadyRegistered: The directory holds something else.
        StorageError: It cannot be written.
    """
    given = GivenRows.of(example if is_frame(example) else as_table("example", example))
    if not given.table.num_rows:
        raise SchemaMismatch("example must hold at least one row")
    flavor = flavor_of(estimator)
    estimator = flavor.read(estimator)
    description = flavor.describe(estimator, given.table.column_names)
    if description.task == "classifier":
        check_classes(description.classes)
    check_input_names(description.inputs)
    given = given.first(description.inputs, EXAMPLE_ROWS)
    example = given.table
    signature = Signature(
        task=description.task,
        inputs=tuple(ColumnSpec(name=f.name, dtype=datatype_of_arrow(f.name, f.type)) for f in example.schema),
        classes=description.classes,
    )
    content = flavor.dump(estimator)
    model = _model(parse(flavor.name, content), flavor.name, signature, example)
    expected = _check_as_fitted(flavor, estimator, model, given)
    _check_missing(flavor, estimator, model, given.frame)
    contents = {flavor.file: content, EXAMPLE: _to_ipc(example), EXPECTED: _to_json(expected)}
    manifest = ModelManifest(
        flavor=flavor.name,
        signature=signature,
        files={name: _sha256(content) for name, content in sorted(contents.items())},
        libraries={name: version(name) for name in description.libraries},
    )
    _write(Path(directory), {**contents, MANIFEST: manifest.model_dump_json(indent=2).encode()}, manifest)
    return manifest


class Parity(NamedTuple):
    """Example rows, and the numbers a model answered for them when it was packaged."""

    columns: Columns
    scores: npt.NDArray[np.float64]

    def holds(self, model: Model) -> bool:
        """Whether ``model`` answers them likewise, within tolerance. Raises what the model raises."""
        return self.agrees(model.predict(self.columns))

    def agrees(self, outputs: Outputs) -> bool:
        """Whether these are the answers, within tolerance."""
        return _agree(outputs, self.scores)


def load_model(directory: Path, manifest: ModelManifest, digest: str) -> Model:
    """Load a packaged model, verified and warm.

    Args:
        directory: What ``save_model`` wrote.
        manifest: From the registry, not from the directory.
        digest: The model's identity, from the registry.

    Raises:
        ModelLoadFailed: The manifest is not the digest's, a file is missing, altered or not readable, or the model
            does not answer its example as it did when it was packaged.
    """
    return load_checked(directory, manifest, digest)[0]


def load_checked(directory: Path, manifest: ModelManifest, digest: str) -> tuple[Model, Parity]:
    """``load_model``, and what it was checked by, so that it can be checked again."""
    if sha256_of(manifest) != digest:
        raise ModelLoadFailed(f"manifest of {directory} must have the digest {digest}, got {sha256_of(manifest)}")
    contents = {name: _verified(Path(directory) / name, expected) for name, expected in manifest.files.items()}
    names = [name for name in contents if name.startswith("model.")]
    if len(names) != 1 or not {EXAMPLE, EXPECTED} <= contents.keys():
        raise ModelLoadFailed(f"manifest of {directory} must list a model, {EXAMPLE} and {EXPECTED}")
    _refuse_unlisted(Path(directory), manifest)
    try:
        loaded = parse(manifest.flavor, contents[names[0]])
        example = pa.ipc.open_file(contents[EXAMPLE]).read_all()
        model = _model(loaded, manifest.flavor, manifest.signature, example)
        columns = columns_of(example, manifest.signature)
        parity = Parity(columns, np.array(orjson.loads(contents[EXPECTED]), dtype=np.float64))
        holds = parity.holds(model)
        answer_example(model.schema, model.predict, columns)
    except ModelLoadFailed as error:
        raise ModelLoadFailed(f"{directory / names[0]}: {error}") from error
    except (RaymlopsError, pa.ArrowException, ValueError, TypeError, AttributeError) as error:
        raise ModelLoadFailed(f"{directory} does not answer its example: {type(error).__name__}: {error}") from error
    if not holds:
        raise ModelLoadFailed(
            f"{directory} must answer its example as when it was packaged with {manifest.libraries}, and does not"
        )
    return model, parity


def _model(loaded: Any, flavor: str, signature: Signature, example: pa.Table) -> Model:
    predictor = flavor_named(flavor).predictor(loaded, signature, example)
    return ServedModel(predictor, signature, columns_of(example, signature))


def _check_as_fitted(flavor: Flavor, estimator: Any, model: Model, given: GivenRows) -> Outputs:
    """The model's answer to its example, asked by a request; it must be the estimator's own for the caller's rows.

    Raises:
        DataError: It does not, one by one, together, or in another order.
    """
    signature, columns = model.signature, columns_of(given.table, model.signature)
    scores = check_scores(
        flavor.answers(estimator, signature.task, given.frame), signature.task, len(signature.classes)
    )
    try:
        expected = answer_example(model.schema, model.predict, columns)
    except DeploymentError as error:
        raise DataError(f"the packaged model must answer its example as it will be asked: {error}") from error
    if not _agree(expected, scores):
        raise DataError("the packaged model must answer the example as the estimator does, and does not")
    rule = "the estimator must answer a row alike alone and beside others, and does not"
    for row in range(len(scores)):
        if not _agree(model.predict(_taken(columns, [row])), scores[row : row + 1]):
            raise DataError(f"{rule}: row {row}")
    order = np.random.default_rng(len(scores)).permutation(len(scores))
    if not _agree(model.predict(_taken(columns, order)), scores[order]):
        raise DataError(f"{rule} in another order")
    return expected


def _check_missing(flavor: Flavor, estimator: Any, model: Model, frame: Any) -> None:
    """Ask for the first row with each value missing that may be, alone and beside the others.

    Raises:
        DataError: The model answers otherwise than the estimator does to the caller's frame.
    """
    rows = with_one_missing(frame, [name for name in frame.columns if name not in model.schema.required])
    if not len(rows):
        return
    try:
        with foreign_errors("the estimator cannot answer"):
            answered = flavor.answers(estimator, model.signature.task, rows)
    except RaymlopsError:
        return
    scores = check_scores(answered, model.signature.task, len(model.signature.classes))
    columns = columns_of(GivenRows.of(rows).table, model.signature)
    for asked in (range(len(scores)), *([row] for row in range(len(scores)))):
        if not _agree(model.predict(_taken(columns, asked)), scores[list(asked)]):
            raise DataError("the packaged model must answer a missing value as the estimator does, and does not")


def _taken(columns: Columns, rows: Any) -> Columns:
    return {name: values[list(rows)] for name, values in columns.items()}


def check_scores(scores: Array, task: Task, classes: int) -> Array:
    """What an estimator answered, a column as the numbers that it holds.

    Raises:
        DataError: It is several answers for a row.
    """
    if task == "regressor":
        if scores.ndim == 2 and scores.shape[1] == 1:
            return scores[:, 0]
        if scores.ndim > 1:
            refuse_outputs(scores.shape[1])
        return scores
    if scores.ndim > 2:
        refuse_outputs(scores.shape[0])
    if scores.ndim == 2 and not (
        scores.shape[1] == classes and np.allclose(scores.sum(axis=1), 1.0, atol=_SUM_TOLERANCE)
    ):
        rule = f"a classifier must answer probabilities of its {classes} classes, which sum to 1"
        raise DataError(f"{rule}, got sums from {scores.sum(axis=1).min():.3g}: it has several labels, perhaps")
    return scores


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refuse_unlisted(directory: Path, manifest: ModelManifest) -> None:
    """Refuse a second model beside the one that was packaged; what other packages keep there is theirs."""
    try:
        unlisted = sorted({name for name in os.listdir(directory) if name.startswith("model.")} - manifest.files.keys())
    except OSError as error:
        raise ModelLoadFailed(f"{directory} cannot be read: {error.strerror}", path=str(directory)) from error
    if unlisted:
        raise ModelLoadFailed(f"{directory} holds {unlisted}, which its manifest does not list", path=str(directory))


def _verified(path: Path, expected: str) -> bytes:
    """The verified bytes of a file: a later change of the file changes nothing."""
    try:
        content = _read_regular(path)
    except OSError as error:
        raise ModelLoadFailed(f"{path} cannot be read: {error.strerror}", path=str(path)) from error
    if _sha256(content) != expected:
        raise ModelLoadFailed(f"{path} must have the SHA-256 {expected}, got {_sha256(content)}", path=str(path))
    return content


def _read_regular(path: Path) -> bytes:
    # not through a link, and without waiting for the writer of a pipe
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ModelLoadFailed(f"{path} must be a regular file", path=str(path))
        return file.read()


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _to_json(outputs: Outputs) -> bytes:
    numbers = outputs["value"] if "value" in outputs else outputs["probability"]
    return orjson.dumps(numbers.tolist())


def _agree(answer: Outputs, scores: npt.NDArray[Any]) -> bool:
    """Whether the numbers agree; ``label`` follows from them, and may flip on a tie."""
    got = answer["value"] if "value" in answer else answer["probability"]
    if got.ndim == 1:
        scores = scores.reshape(-1)  # packaged as a column
    if scores.ndim < got.ndim:
        got = got[:, 1]
    return got.shape == scores.shape and bool(np.allclose(got, scores, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _write(directory: Path, contents: Mapping[str, bytes], manifest: ModelManifest) -> None:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            for name, content in contents.items():
                write_synced(scratch / name, content)
            scratch.chmod(0o755)
            sync(scratch)
            scratch.rename(directory)
            sync(directory.parent)
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            if directory.is_dir() and any(directory.iterdir()):
                _accept_repeat(directory, manifest)
                return
            raise
    except OSError as error:
        raise StorageError(f"{directory} cannot be written: {error}", path=str(directory)) from error


def _accept_repeat(directory: Path, manifest: ModelManifest) -> None:
    path = directory / MANIFEST
    if not path.is_file() or path.read_bytes() != manifest.model_dump_json(indent=2).encode():
        raise AlreadyRegistered(f"{directory} must be empty or hold this very model", path=str(directory))

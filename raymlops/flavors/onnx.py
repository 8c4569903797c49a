"""ONNX: models of any library as a file, run by ONNX Runtime without pickle. Needs ``raymlops[onnx]``.

What the file does not say of itself can be written into its metadata: ``raymlops.task`` (``classifier`` or
``regressor``) and ``raymlops.classes`` (a JSON list, in the order of the probabilities).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from raymlops.errors import DataError, SchemaMismatch
from raymlops.flavors.frames import columns_of_frame
from raymlops.flavors.guard import foreign_errors
from raymlops.flavors.protocol import Description, inputs_of, refuse_outputs

if TYPE_CHECKING:
    from raymlops.flavors.protocol import Array, Task
    from raymlops.records.learning.signatures import Signature

__all__ = ["FLAVOR", "OnnxFlavor"]

_TASK, _CLASSES = "raymlops.task", "raymlops.classes"
_FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64}
_WHOLE = {
    **{"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8},
    **{"tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32, "tensor(bool)": np.bool_},
}
_TEXT = "tensor(string)"
_CLASS_ATTRIBUTES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")
_MAX_BYTES = 2**31 - 1
"""Of a protocol buffer, which a model is."""


class _Loaded(NamedTuple):
    """A graph, and the session that runs it."""

    content: bytes
    session: Any
    classes: tuple[Any, ...]
    """Those that the graph or its metadata names; empty where neither does."""


class _Predictor:
    takes_missing = False
    encoders: Mapping[int, Mapping[Any, float]] = MappingProxyType({})

    def __init__(self, loaded: _Loaded, inputs: Sequence[str], classes: Sequence[Any]) -> None:
        self._run, self._classes = loaded.session.run, classes
        first, *others = loaded.session.get_inputs()
        self.framed = bool(others) or _width(first) == 1 or len(inputs) == 1
        self.dtype = np.float64 if self.framed else _FLOATS[first.type]
        self._name = first.name
        self._inputs = dict(zip(inputs, (first, *others), strict=False))
        self._answer, self._mapped = _answer_of(loaded.session)

    def score(self, inputs: Any) -> Array:
        fed = {self._name: inputs}
        if self.framed:
            fed = {each.name: _tensor(each, inputs[name]) for name, each in self._inputs.items()}
        (found,) = self._run([self._answer], fed)
        if self._mapped:
            return np.array([[row[label] for label in self._classes] for row in found], dtype=np.float64)
        scores: Array = np.asarray(found)
        return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores

    def importances(self) -> None:
        return None


class OnnxFlavor:
    """The path of an ``.onnx`` file, its bytes, or an ``onnx.ModelProto``."""

    name = "onnx"
    file = "model.onnx"
    libraries = ("onnxruntime",)
    families: Mapping[str, Any] = MappingProxyType({})

    def owns(self, estimator: Any) -> bool:
        if isinstance(estimator, str | Path):
            return Path(estimator).suffix == ".onnx"
        return isinstance(estimator, bytes) or type(estimator).__name__ == "ModelProto"

    def read(self, estimator: Any) -> bytes:
        return _read(estimator)

    def describe(self, estimator: Any, columns: Sequence[str]) -> Description:
        loaded = _open(estimator)
        given = loaded.session.get_inputs()
        _check_inputs(given, columns)
        names = [each.name for each in given]
        inputs = inputs_of(None, _width(given[0]), columns) if len(given) == 1 else inputs_of(names, None, columns)
        task, classes = _task_of(loaded)
        return Description(task, inputs, classes, self.libraries)

    def dump(self, estimator: Any) -> bytes:
        return _read(estimator)

    def parse(self, content: bytes) -> _Loaded:
        return _open(content)

    def predictor(self, loaded: _Loaded, signature: Signature, example: pa.Table) -> _Predictor:
        del example  # the graph knows its types
        return _Predictor(loaded, signature.names, signature.classes)

    def answers(self, estimator: Any, task: Task, frame: Any) -> Array:
        """By a session that changes nothing in the graph, where the one that serves rewrites it to be faster."""
        del task  # the graph says it
        plain, columns = _open(estimator, optimised=False), columns_of_frame(frame)
        predictor = _Predictor(plain, tuple(columns), plain.classes)
        if predictor.framed:
            return predictor.score(columns)
        return predictor.score(np.column_stack(list(columns.values())).astype(predictor.dtype))

    def inputs(self, estimator: Any, frame: Any) -> Any:
        del estimator
        return frame

    def staged(
        self, estimator: Any, inputs: Any, task: Task, points: Callable[[int], Sequence[int]]
    ) -> list[tuple[int, Array]]:
        del estimator, inputs, task, points
        return []

    def save_for_mlflow(self, loaded: _Loaded, options: Mapping[str, Any]) -> None:
        import mlflow.onnx
        import onnx

        mlflow.onnx.save_model(onnx.load_from_string(loaded.content), **options)


FLAVOR = OnnxFlavor()


def _open(estimator: Any, *, optimised: bool = True) -> _Loaded:
    """Read, check and load a graph.

    Raises:
        DataError: It is no valid graph, refers to other files, or has nodes that the runtime does not know.
    """
    try:
        import onnx
        import onnxruntime
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise DataError(f"a model in ONNX needs {error.name}: pip install 'raymlops[onnx]'") from error

    content = _read(estimator)
    try:
        model = onnx.load_from_string(content)
    except DecodeError as error:
        raise DataError("the file is no ONNX model") from error
    if elsewhere := sorted({tensor.name for tensor in _tensors(model) if tensor.external_data or tensor.data_location}):
        raise DataError(f"an ONNX model must hold its weights itself, {elsewhere[:3]} are in other files")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with foreign_errors("the ONNX model cannot be run"):
        onnx.checker.check_model(model)
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return _Loaded(content, session, _classes_of(model))


def _read(estimator: Any) -> bytes:
    if isinstance(estimator, bytes):
        return estimator
    if not isinstance(estimator, str | Path):
        content: bytes = estimator.SerializeToString(deterministic=True)
        return content
    path = Path(estimator)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"an ONNX model must have at most {_MAX_BYTES} bytes, {path} has {path.stat().st_size}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", path=str(path)) from error


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model, those in nested graphs and functions among them."""
    waiting = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while waiting or nodes:
        if waiting:
            graph = waiting.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            waiting.extend([attribute.g] if attribute.HasField("g") else [])
            waiting.extend(attribute.graphs)


def _classes_of(model: Any) -> tuple[Any, ...]:
    """The classes that metadata name, or the last node that has some."""
    named = {entry.key: entry.value for entry in model.metadata_props}
    if _CLASSES in named:
        try:
            classes = json.loads(named[_CLASSES])
        except ValueError as error:
            raise DataError(f"{_CLASSES} must be a JSON list, got {named[_CLASSES][:100]!r}") from error
        if not isinstance(classes, list) or not all(isinstance(value, str | int | float) for value in classes):
            raise DataError(f"{_CLASSES} must be a JSON list of texts or numbers, got {named[_CLASSES][:100]!r}")
        return tuple(classes)
    for node in reversed(model.graph.node):
        for attribute in node.attribute:
            if attribute.name in _CLASS_ATTRIBUTES and (attribute.strings or attribute.ints):
                return tuple(text.decode() for text in attribute.strings) or tuple(attribute.ints)
    return ()


def _width(given: Any) -> int | None:
    """Columns of an input [N, columns] or [N]; ``None`` where the graph takes any number."""
    if len(given.shape) < 2:
        return 1
    width = given.shape[1]
    return width if isinstance(width, int) else None


def _check_inputs(given: Sequence[Any], columns: Sequence[str]) -> None:
    """Refuse inputs that no row of a table can be fed to.

    Raises:
        SchemaMismatch: One is an image, a sequence or the like, or a matrix beside others.
    """
    known = {*_FLOATS, *_WHOLE, _TEXT}
    for each in given:
        if each.type not in known or len(each.shape) > 2 or (len(given) > 1 and _width(each) not in {1, None}):
            rule = "an input must be one matrix of floats [N, columns], or one column [N] or [N, 1] of each name"
            raise SchemaMismatch(f"{rule}, {each.name!r} is {each.type} {each.shape}", column=each.name)
    if len(given) == 1 and _width(given[0]) != 1 and given[0].type not in _FLOATS and len(columns) > 1:
        raise SchemaMismatch(f"a matrix must be of floats, {given[0].name!r} is {given[0].type}")


def _answer_of(session: Any) -> tuple[str, bool]:
    """The output that holds numbers for each class or row, and whether it is a mapping for each row.

    Raises:
        DataError: There is none, or there are several.
    """
    outputs = session.get_outputs()
    mapped = [each.name for each in outputs if each.type.startswith("seq(map(")]
    numbers = [each.name for each in outputs if each.type in _FLOATS]
    found = mapped or numbers
    if len(found) != 1:
        told = [f"{each.name}: {each.type}" for each in outputs]
        raise DataError(f"an ONNX model must have one output of floats, beside a label, perhaps; got {told}")
    return found[0], bool(mapped)


def _task_of(loaded: _Loaded) -> tuple[Task, tuple[Any, ...]]:
    """Whether probabilities or values come out, and of which classes.

    Raises:
        DataError: The model does not tell.
    """
    name, mapped = _answer_of(loaded.session)
    shape = next(each.shape for each in loaded.session.get_outputs() if each.name == name)
    labelled = len(loaded.session.get_outputs()) > 1
    width = 1 if len(shape) < 2 else shape[1]
    told = loaded.session.get_modelmeta().custom_metadata_map.get(_TASK)
    if told not in {None, "classifier", "regressor"}:
        raise DataError(f"{_TASK} must be 'classifier' or 'regressor', got {told!r}")
    several = isinstance(width, int) and width > 1
    if told == "regressor" or (told is None and not (mapped or labelled or several or loaded.classes)):
        if several:
            refuse_outputs(width)
        return "regressor", ()
    if loaded.classes:
        return "classifier", loaded.classes
    if mapped or not isinstance(width, int):
        raise DataError(f"the ONNX model does not tell its classes: put {_CLASSES}, a JSON list, into its metadata")
    return "classifier", tuple(range(max(2, width)))


def _tensor(given: Any, values: Array) -> Array:
    """A column as the graph takes it.

    Raises:
        ValueError: A value is missing where the graph knows none.
    """
    if given.type == _TEXT:
        if any(value is None for value in values):
            raise ValueError(f"input {given.name!r} must not be missing")
        column = values.astype(object)
    elif given.type in _FLOATS:
        column = values.astype(_FLOATS[given.type])
    else:
        with np.errstate(invalid="ignore"):
            column = values.astype(_WHOLE[given.type])
        if (column != values).any():  # also where one is missing, for NaN equals nothing
            raise ValueError(f"input {given.name!r} must be whole numbers that {given.type} holds, and not missing")
    return column if len(given.shape) < 2 else column.reshape(-1, 1)

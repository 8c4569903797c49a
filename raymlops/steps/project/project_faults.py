"""Everything that is wrong with a ``project.yaml``, told at once: before anything is tested, built or trained.

The project's own modules are imported. ``project_check`` does that in a process of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

import orjson
from pydantic import BaseModel, ValidationError

from raymlops.config.reading.policy import check_policy
from raymlops.errors import ConfigError, RaymlopsError
from raymlops.experiments.estimators import build, check_family
from raymlops.experiments.searching.search_space import SearchSpace
from raymlops.features.catalog.applied import CatalogState, Definition, ResolvedService
from raymlops.features.catalog.draft import Draft
from raymlops.monitoring.performance.conditions import parse_condition
from raymlops.records.bundles import ProjectSpec
from raymlops.records.learning.tasks import METRICS, LearningTask, TaskKind
from raymlops.records.names import check_name, did_you_mean
from raymlops.serving.models.input_names import EVENT_SCHEMA
from raymlops.steps.project.context import EVENT_TIME, LABEL, LABEL_TIME, spine_function
from raymlops.steps.project.parameters import TrainingParameters

__all__ = ["project_faults"]

_NOT_INPUTS = frozenset({EVENT_TIME, LABEL, LABEL_TIME, *EVENT_SCHEMA.names})
"""Columns that a spine or a prediction event has besides the model's inputs."""


def project_faults(document: object, applied: CatalogState) -> list[str]:
    """What is wrong with a project.

    Args:
        document: What its file holds, as YAML gives it. Its modules must be importable.
        applied: The definitions that the platform has; those of the project come on top.

    Returns:
        ``KEY: what is wrong``, one line per fault, in the order of the keys.
    """
    if not isinstance(document, Mapping):
        return [f"document: must be a mapping of keys, got {type(document).__name__}"]
    check = _Check(dict(document))
    check.keys()
    check.names()
    state = check.definitions(applied)
    service = check.service(state, applied)
    check.task()
    check.columns(service)
    check.training()
    check.policy()
    places = {key: place for place, key in enumerate(ProjectSpec.model_fields)}
    found = sorted(check.faults, key=lambda fault: places.get(fault[0].partition(".")[0], -1))
    return list(dict.fromkeys(" ".join(f"{key}: {message}".split()) for key, message in found))


class _Check:
    """The checks of one document; a part that has a fault is left out of the later checks."""

    def __init__(self, document: dict[Any, Any]) -> None:
        self.faults: list[tuple[str, str]] = []
        self._document = document
        self._sound: dict[str, Any] = {}

    def keys(self) -> None:
        """Known keys, values of the declared types."""
        wrong = set()
        for key, message in _model_faults(ProjectSpec, self._document):
            self.faults.append((key, message))
            wrong.add(key.partition(".")[0])
        self._sound = {key: value for key, value in self._document.items() if key not in wrong}

    def names(self) -> None:
        """Names that become files, routes and applications."""
        self._try("name", lambda name: check_name("project", name))
        self._try("model", lambda name: check_name("model", name))

    def definitions(self, applied: CatalogState) -> CatalogState | None:
        """What would be applied with the project's definitions; ``None`` where that cannot be."""
        if (path := self._sound.get("definitions")) is None:
            return None
        found = self._import(path)
        if found is None:
            return None
        if isinstance(found, str | Mapping) or not isinstance(found, Iterable):
            self.faults.append(("definitions", f"{path!r} must be a list of definitions, got {type(found).__name__}"))
            return None
        given: list[Definition] = list(found)
        draft = Draft(applied, given)
        self.faults += [("definitions", message) for message in draft.faults.messages]
        return None if draft.faults.errors else draft.state()

    def service(self, state: CatalogState | None, applied: CatalogState) -> ResolvedService | None:
        """The feature service, where it is defined."""
        name = self._sound.get("service")
        if name is None or state is None:
            return None
        try:
            return state.resolve(name)
        except RaymlopsError as error:
            known = sorted({service.service.name for service in [*state.services.values(), *applied.services.values()]})
            told = f"must be one of the services that are defined, {known}, got {name!r}{did_you_mean(name, known)}"
            self.faults.append(("service", str(error) if isinstance(error, ConfigError) else told))
            return None

    def task(self) -> None:
        """Task and metric that go together; the spine, which is a function."""
        kinds = get_args(TaskKind)
        task = self._sound.get("task", "classifier")
        if task not in kinds:
            self.faults.append(("task", f"must be one of {list(kinds)}, got {task!r}{did_you_mean(task, kinds)}"))
        metric = self._sound.get("metric", "log_loss")
        metrics = METRICS.get(task, tuple(name for names in METRICS.values() for name in names))
        if metric not in metrics:
            told = f"of a {task} must be one of {list(metrics)}, got {metric!r}{did_you_mean(metric, metrics)}"
            self.faults.append(("metric", told))
        self._try("spine", spine_function)

    def columns(self, service: ResolvedService | None) -> None:
        """Inputs that are told apart, and segments of columns that are logged."""
        asked: Sequence[str] = self._sound.get("request_columns", ())
        features = () if service is None else tuple(service.columns)
        for place, name in enumerate(asked):
            if not name.strip() or name in _NOT_INPUTS:
                told = f"must be no column of the platform's own, {sorted(_NOT_INPUTS)}, got {name!r}"
                self.faults.append((f"request_columns.{place}", told))
            elif name in features or name in asked[:place]:
                self.faults.append((f"request_columns.{place}", f"must name an input once, got {name!r} again"))
        if service is None or ("request_columns" in self._document and "request_columns" not in self._sound):
            return
        logged = {*asked, *features, *EVENT_SCHEMA.names}
        for place, segment in enumerate(self._sound.get("segments", ())):
            for message in _segment_faults(segment, logged):
                self.faults.append((f"segments.{place}", message))

    def training(self) -> None:
        """Parameters of the runs; families, and theirs, one by one."""
        given = self._sound.get("training")
        if given is None:
            return
        given = dict(given)
        search = given.pop("search", None)
        for key, message in _model_faults(TrainingParameters, given):
            self.faults.append((f"training.{key}", message))
        if search is None:
            return
        if not isinstance(search, Mapping) or not search:
            self.faults.append(("training.search", f"must be a mapping of families, got {search!r}"))
            return
        for family, ranges in search.items():
            for key, message in self._family_faults(family, ranges):
                self.faults.append((f"training.search.{key}", message))

    def policy(self) -> None:
        """What the project says about retraining and trials, in every environment that it names."""
        given = self._sound.get("policy")
        for fault in check_policy(given) if isinstance(given, Mapping) else ():
            told = fault.removeprefix("project.yaml").lstrip(":, ").removeprefix("policy.")
            self.faults.append(("policy", told))

    def _family_faults(self, family: object, ranges: object) -> list[tuple[str, str]]:
        if not isinstance(family, str) or not isinstance(ranges, Mapping):
            return [(str(family), f"must be a mapping of parameters, got {ranges!r}")]
        found = []
        try:
            check_family(family)
        except ConfigError as error:
            return [(family, str(error))]
        for name, declared in ranges.items():
            try:
                SearchSpace({family: {name: declared}})
            except ConfigError as error:
                found.append((f"{family}.{name}", str(error)))
        kind, metric = self._sound.get("task", "classifier"), self._sound.get("metric", "log_loss")
        if found or metric not in METRICS.get(kind, ()):
            return found
        try:
            (spec,) = SearchSpace({family: ranges}).sample(0, 1)
            build(family, spec.params, seed=0, task=LearningTask(kind=kind, metric=metric, inputs=("x",)))
        except RaymlopsError as error:
            found.append((family, str(error)))
        except Exception as error:  # the project's own function, or a library that does not like a value
            found.append((family, f"building it raised {type(error).__name__}: {error}"))
        return found

    def _import(self, path: str) -> Any:
        """The value at ``module:name``; ``None`` where it cannot be had, which is then a fault."""
        module, _, name = path.partition(":")
        if not module or not name:
            self.faults.append(("definitions", f"must be 'module:name', got {path!r}"))
            return None
        try:
            return getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever the project's module raises
            self.faults.append(("definitions", f"{path!r} cannot be imported: {type(error).__name__}: {error}"))
            return None

    def _try(self, key: str, check: Callable[[str], object]) -> None:
        if key not in self._sound:
            return
        try:
            check(self._sound[key])
        except RaymlopsError as error:
            self.faults.append((key, str(error)))
        except Exception as error:  # whatever the project's module raises
            self.faults.append((key, f"raised {type(error).__name__}: {error}"))


def _model_faults(model: type[BaseModel], values: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """Keys that a model does not have, and values that are not what it declares: strict, so that ``yes`` is no 1."""
    try:
        model.model_validate_json(orjson.dumps(dict(values)), strict=True)
    except ValidationError as error:
        return [_told(model, fault) for fault in error.errors(include_url=False)]
    except RaymlopsError as error:
        return [("parameters", str(error))]
    except TypeError as error:
        return [("document", f"must hold values of YAML under keys that are text: {error}")]
    return []


def _told(model: type[BaseModel], fault: Any) -> tuple[str, str]:
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location) or "parameters"
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        return key, f"is not known, must be one of {sorted(known)}{did_you_mean(location[-1], known)}"
    if fault["type"] == "missing":
        return key, "must be there"
    rule = fault["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    return key, f"{rule}, got {fault['input']!r}" if location else rule


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    for part in location:
        field = model.model_fields.get(part)
        inner = None if field is None else field.annotation
        kinds = [kind for kind in (inner, *get_args(inner)) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not kinds:
            return []
        model = kinds[0]
    return list(model.model_fields)


def _segment_faults(segment: str, logged: set[str]) -> list[str]:
    if segment in logged:
        return []
    try:
        columns = [clause.column for clause in parse_condition(segment)]
    except ConfigError:
        return [
            f"must be a column that is logged or comparisons joined by 'and', got {segment!r}"
            + did_you_mean(segment, logged)
        ]
    return [
        f"names the column {column!r}, which is not logged{did_you_mean(column, logged)}"
        for column in columns
        if column not in logged
    ]

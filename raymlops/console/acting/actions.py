"""The actions of the console: each with its fields, and the order that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raymlops.errors import DataError
from raymlops.records.serving.keys import ALL_MODELS, ENVIRONMENT
from raymlops.serving.front.orders import Asked, parameters_of

__all__ = ["ACTIONS", "Action", "Form", "read_form"]

_LONGEST_REASON = 500


@dataclass(frozen=True)
class Action:
    """One action.

    Attributes:
        name: As ``OPERATIONS`` has it.
        title: Its title, in the imperative.
        effect: Its effect, in one sentence.
        fields: Parameters that a person chooses, beside the model.
        about: What it is about.
        makes_plan: Whether it makes a serving plan.
    """

    name: str
    title: str
    effect: str
    fields: tuple[str, ...] = ()
    about: str = "model"
    makes_plan: bool = True


_ALL = (
    Action("promote", "Promote a version", "The version becomes champion, and the champion its backup.", ("version",)),
    Action("rollback", "Roll back", "A trial ends; without one, the backup becomes champion again."),
    Action("abort", "Abort the trial", "The trial ends, and its version answers nobody."),
    Action(
        "load",
        "Deploy a version",
        "The version becomes champion of the endpoint, which is started where there is none.",
        ("version", "features", "replicas"),
    ),
    Action("unload", "Undeploy the model", "The endpoint and its trial end. Versions, plans and history stay."),
    Action("block", "Block a version", "The version answers nobody until it is unblocked.", ("version",)),
    Action("unblock", "Unblock a version", "The version may answer again.", ("version",)),
    Action(
        "pause",
        "Pause the loop",
        "The controller decides nothing about the model: no retraining, no promotion, no roll-back.",
        makes_plan=False,
    ),
    Action("resume", "Resume the loop", "The controller decides about the model again.", makes_plan=False),
    Action(
        "retrain",
        "Retrain now",
        "The controller starts a run with its next turn, unless one is under way. A good candidate is put on trial.",
        makes_plan=False,
    ),
    Action(
        "approve",
        "Approve a bundle",
        "The key's owner counts among those who approve the bundle for the environment.",
        ("bundle",),
        about="environment",
        makes_plan=False,
    ),
)
ACTIONS = {action.name: action for action in _ALL}
"""Name -> action, in the order in which pages offer them."""

_NUMBERS = ("version", "replicas")


@dataclass(frozen=True)
class Form:
    """The fields of an action, as a person filled them in.

    Attributes:
        action: The action.
        name: The model or environment.
        fields: Name -> what was written, without spaces around it; those that were left out are not there.
    """

    action: Action
    name: str
    fields: Mapping[str, str]

    @property
    def target(self) -> str:
        """The target that a key must have a grant over."""
        return self.name if self.action.about == "model" else f"{ENVIRONMENT}{self.name}"

    @property
    def missing(self) -> tuple[str, ...]:
        """Fields that must be filled in before anything can be shown."""
        needed = [name for name in self.action.fields if name in {"version", "bundle"}]
        return tuple(name for name in needed if name not in self.fields)

    def given(self, **more: Any) -> Asked:
        """The parameters of the order.

        Args:
            more: ``reason``, ``expected_plan``.

        Raises:
            DataError: A field is not what the action takes.
        """
        told: dict[str, Any] = {name: text for name, text in self.fields.items() if name in self.action.fields}
        for name in _NUMBERS:
            if name in told:
                told[name] = _number(name, told[name])
        kept = more if self.action.makes_plan else {name: value for name, value in more.items() if name == "reason"}
        return parameters_of(self.action.name, {**told, **kept})


def read_form(action: Action, fields: Mapping[str, str]) -> Form:
    """The form of an action.

    Raises:
        DataError: It names no model, or no environment.
    """
    filled = {name: text.strip() for name, text in fields.items() if text.strip()}
    name = filled.get(action.about, "")
    if not name or len(name) > 200 or (name == ALL_MODELS and action.name not in {"pause", "resume"}):
        raise DataError(f"{action.name} must name {_article(action.about)}, got {name!r:.200}")
    if len(filled.get("reason", "")) > _LONGEST_REASON:
        raise DataError(f"reason must have at most {_LONGEST_REASON} characters, got {len(filled['reason'])}")
    return Form(action, name, filled)


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise DataError(f"{name!r} must be a whole number, got {text!r:.100}")
    return int(text)

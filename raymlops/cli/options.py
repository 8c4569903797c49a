"""Options that are many, or that commands share, as one object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar, get_type_hints

__all__ = ["options_of"]

T = TypeVar("T")


def options_of(kind: type[Any]) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command the fields of a dataclass as its arguments and options; its first parameter gets the object.

    Typer reads a command's signature; this writes one.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        named = get_type_hints(kind, include_extras=True)
        parameters = [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=Parameter.empty if field.default is MISSING else field.default,
                annotation=named[field.name],
            )
            for field in fields(kind)
        ]
        hints = get_type_hints(function, include_extras=True)
        first, *rest = signature(function).parameters.values()
        parameters += [each.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[each.name]) for each in rest]

        @wraps(function)
        def command(**given: Any) -> T:
            own = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            return function(**{first.name: own}, **given)

        command.__annotations__ = {each.name: each.annotation for each in parameters}
        vars(command)["__signature__"] = Signature(parameters)
        return command

    return decorate

"""A rehearsal: recorded requests that a model must answer before it serves."""

from __future__ import annotations

from collections.abc import Sequence

from raymlops.errors import DeploymentError
from raymlops.flavors.protocol import Columns
from raymlops.serving.models.model import Model
from raymlops.serving.models.outputs import check_outputs

__all__ = ["rehearse"]


def rehearse(model: Model, recorded: Sequence[Columns]) -> str | None:
    """Have a model answer recorded requests: this warms it up and shows its faults. Blocks.

    Args:
        model: Asked off the request path.
        recorded: Requests; those that lack an input of the model, or hold it in another kind, are left out.

    Returns:
        What went wrong, in a few words; ``None`` where it answered all.
    """
    schema = model.schema
    for place, columns in enumerate(recorded):
        fits = all(
            name in columns and (columns[name].dtype.kind == "O") == (name in schema.texts) for name in schema.names
        )
        if not fits:
            continue
        rows = len(columns[schema.names[0]])
        try:
            check_outputs(model.predict(columns), rows)
        except DeploymentError as error:
            return f"recorded request {place + 1} of {len(recorded)}: {error}"
        except Exception as error:
            return f"recorded request {place + 1} of {len(recorded)}: raised {type(error).__name__}: {str(error)[:200]}"
    return None

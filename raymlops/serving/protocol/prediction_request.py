"""The rows of one request for predictions, as the decoder makes them and the event log keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from raymlops.flavors.protocol import Columns

__all__ = ["PredictionRequest"]


class PredictionRequest(NamedTuple):
    """N rows to predict. A query and a prediction event hold it by reference: its values are copied nowhere.

    Attributes:
        request_id: Labels refer to it: as sent, or made where none was.
        columns: Model inputs, request-time fields and joined features, each of length N.
        at_us: N instants the prediction is made for, microseconds since 1970.
        missing: Per row, the feature columns that had no valid value; empty where no features were joined.
        entities: Per row, the keys the features were joined by, as a JSON object; empty where no features were joined.
        feature_times_us: Feature view -> N event times of the rows that were joined, in microseconds; ``None`` where no
            features were joined.
    """

    request_id: str
    columns: Columns
    at_us: Sequence[int]
    missing: Sequence[Sequence[str]] = ()
    entities: Sequence[str] = ()
    feature_times_us: Mapping[str, Sequence[int | None]] | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.at_us)

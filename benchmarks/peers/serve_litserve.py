"""The model behind LitServe, one worker, as it comes."""

import sys
from typing import Any

import litserve
import numpy as np
import xgboost


class Bench(litserve.LitAPI):
    """Rows in, probabilities out."""

    def setup(self, device: str) -> None:  # noqa: ARG002 (LitServe's)
        """Load the model in the worker."""
        self.booster = xgboost.Booster(model_file=f"{sys.argv[1]}/model.ubj")
        self.booster.set_param({"nthread": 1})

    def decode_request(self, request: dict[str, Any]) -> Any:
        """One matrix."""
        return np.array(request["inputs"], dtype=np.float32)

    def predict(self, x: Any) -> Any:
        """P(class 1)."""
        return self.booster.inplace_predict(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """As JSON."""
        return {"probability": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Bench(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)

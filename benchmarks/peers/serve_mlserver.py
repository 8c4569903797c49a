"""The model behind MLServer, in its one process, as ``mlserver start`` has it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

folder, port = Path(sys.argv[1]), int(sys.argv[2])
served = folder / "mlserver"
served.mkdir(exist_ok=True)
settings = {
    "host": "127.0.0.1",
    "http_port": port,
    "grpc_port": port + 1,
    "metrics_port": port + 2,
    "parallel_workers": 0,
    "debug": False,
}
parameters = {"uri": str(folder / "model.ubj"), "version": "1"}
model = {"name": "bench", "implementation": "mlserver_xgboost.XGBoostModel", "parameters": parameters}
(served / "settings.json").write_text(json.dumps(settings))
(served / "model-settings.json").write_text(json.dumps(model))
os.execv(Path(sys.executable).with_name("mlserver"), ["mlserver", "start", str(served)])

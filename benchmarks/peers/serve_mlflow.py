"""The model behind ``mlflow models serve``, one worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import mlflow.xgboost
import xgboost

folder, port = Path(sys.argv[1]), sys.argv[2]
saved = folder / "mlflow"
if not saved.exists():
    model = xgboost.XGBClassifier(n_jobs=1)
    model.load_model(folder / "model.ubj")
    mlflow.xgboost.save_model(model, saved, model_format="ubj")
command = [
    "mlflow",
    "models",
    "serve",
    "-m",
    str(saved),
    "-h",
    "127.0.0.1",
    "-p",
    port,
    "-w",
    "1",
    "--env-manager=local",
]
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
os.execv(Path(sys.executable).with_name("mlflow"), command)

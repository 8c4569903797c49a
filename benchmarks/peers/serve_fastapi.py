"""The model behind FastAPI with as little as possible: raw body, orjson, one worker of uvicorn, no access log."""

from __future__ import annotations

import sys

import numpy as np
import orjson
import uvicorn
import xgboost
from fastapi import FastAPI, Request, Response

app = FastAPI()
booster = xgboost.Booster(model_file=f"{sys.argv[1]}/model.ubj")
booster.set_param({"nthread": 1})


@app.post("/infer")
async def infer(request: Request) -> Response:
    """One tensor in, label and probability out."""
    tensor = orjson.loads(await request.body())["inputs"][0]
    matrix = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
    scores = booster.inplace_predict(matrix)
    rows = len(scores)
    label = {"name": "label", "datatype": "INT64", "shape": [rows], "data": (scores > 0.5).astype(int).tolist()}
    pairs = np.column_stack([1 - scores, scores]).ravel().tolist()
    probability = {"name": "probability", "datatype": "FP64", "shape": [rows, 2], "data": pairs}
    answer = {"model_name": "bench", "model_version": "1", "outputs": [label, probability]}
    return Response(orjson.dumps(answer), media_type="application/json")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)

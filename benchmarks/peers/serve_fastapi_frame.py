"""The pipeline on a frame behind FastAPI with as little as possible: one frame of the request's tensors, one answer."""

from __future__ import annotations

import sys

import joblib
import orjson
import pandas as pd
import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()
pipeline = joblib.load(f"{sys.argv[1]}/pipeline.joblib")


@app.post("/infer")
async def infer(request: Request) -> Response:
    """A tensor for each column in, label and probability out."""
    frame = pd.DataFrame({one["name"]: one["data"] for one in orjson.loads(await request.body())["inputs"]})
    pairs = pipeline.predict_proba(frame)
    rows = len(pairs)
    label = {"name": "label", "datatype": "INT64", "shape": [rows], "data": pairs.argmax(axis=1).tolist()}
    probability = {"name": "probability", "datatype": "FP64", "shape": [rows, 2], "data": pairs.ravel().tolist()}
    answer = {"model_name": "bench", "model_version": "1", "outputs": [label, probability]}
    return Response(orjson.dumps(answer), media_type="application/json")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)

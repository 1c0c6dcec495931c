"""What serving a network takes at the least: FastAPI, one PNG, one forward pass, one answer.

    python benchmarks/plain_server.py MODEL --port 8001

The network is the model's, at the mean of its posterior; it runs once for each request, as in any
tutorial: no batches, no sampled networks, no judgement of how familiar the image is, no limits.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from torch.func import functional_call

import nescio


def plain_app(classifier: nescio.Classifier) -> FastAPI:
    """``POST /predict`` with a file in the field ``image``."""
    app = FastAPI()
    network, weights = classifier.network, dict(classifier.guide.center())

    @app.post("/predict")
    async def predict(image: UploadFile) -> dict[str, Any]:
        pixels = np.asarray(Image.open(BytesIO(await image.read())).convert("L"))
        with torch.no_grad():
            x = torch.from_numpy(pixels.copy())[None, None].float() / 255
            probability = functional_call(network, weights, (x,)).softmax(-1)[0].tolist()
        named = dict(zip(classifier.classes, probability, strict=True))
        return {"label": max(named, key=named.__getitem__), "probability": named}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, default=8001)
    given = parser.parse_args()
    app = plain_app(nescio.load_model(given.model))
    uvicorn.run(app, port=given.port, log_level="warning", access_log=False)

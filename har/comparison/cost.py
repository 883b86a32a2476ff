"""What an approach costs from a clip's frames to its probabilities, its backbone included."""

import time
from typing import Any

import numpy as np

from har import files
from har.backbones import features
from har.backbones.joined_model import joined_model
from har.comparison import flops, latency, measured
from har.nn.backend import keras
from har.params import Params

_RUNS = 10


def of(approach: str, model: keras.Model, params: Params) -> dict[str, Any]:
    """Return the cost of an approach.

    Args:
        approach: its name.
        model: from what it reads, frames or features, to probabilities.
        params: the whole of params.yaml: `features` names its backbone.

    Returns:
        `parameters`; `multiply_adds` of one clip, `None` where a part of the network is not
        Keras's; `latency_ms`, the median time of one clip at batch 1 on this machine, measured
        once per machine and network; `backbone`, its name or `None`.
    """
    name = params.features.get(approach)
    if name is None:
        return {
            "parameters": model.count_params(),
            "multiply_adds": flops.multiply_adds(model),
            "latency_ms": latency.measured_once(model, model.input_shape[1:4]),
            "backbone": None,
        }
    backbone = features.open_backbone(name, params.backbones[name])
    if backbone.network is not None:
        whole = joined_model(backbone.network, model, backbone.params.windows)
        return {
            "parameters": whole.count_params(),
            "multiply_adds": flops.multiply_adds(whole),
            "latency_ms": latency.measured_once(whole, whole.input_shape[1:4]),
            "backbone": name,
        }
    devices = keras.distribution.list_devices()
    key = files.digest(
        name, backbone.identity, backbone.params.model_dump(), devices, model.to_json()
    )
    return {
        "parameters": model.count_params(),
        "multiply_adds": None,
        "latency_ms": measured.once("latency", key, lambda: _measure(backbone, model)),
        "backbone": name,
    }


def _measure(backbone: features.Backbone, model: keras.Model) -> float:
    params = backbone.params
    shape = (params.windows * params.count, params.height, params.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    times = []
    for _ in range(_RUNS + 1):
        start = time.perf_counter()
        np.asarray(model.predict_on_batch(backbone.features(frames)[None]))
        times.append(time.perf_counter() - start)
    return round(float(np.median(times[1:]) * 1000), 2)

"""Runs a LiteRT network as a phone does: without TensorFlow's own operations, a clip at a time."""

import numpy as np


def answers(network: bytes, clips: np.ndarray) -> np.ndarray:
    """Return what a .tflite file's content says of uint8 clips (N, T, H, W, 3), (N, C)."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=network, num_threads=1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert source["dtype"] == np.uint8
    assert result["dtype"] == np.float32
    rows = []
    for clip in clips:
        interpreter.set_tensor(source["index"], clip[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(result["index"])[0].copy())
    return np.array(rows)

"""MoveNet SinglePose Lightning: 17 key points of a person in each frame.

Google, MoveNet (TensorFlow Hub, 2021; Apache-2.0): a TensorFlow Lite file, 192 × 192 uint8 in, that
runs under `ai-edge-litert`. Cost: some 10 ms a frame on one core.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from har.errors import UserError

SIDE = 192  # pixels, height and width of the input
JOINTS = 17  # nose; left and right eyes, ears, shoulders, elbows, wrists, hips, knees, ankles


def extractor(weights: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load the `.tflite` file.

    Returns:
        A thread-safe function from frames, (T, H, W, 3) uint8 RGB of any size, to key points,
        (T, 51) float32: y, x and score of each of the `JOINTS`; positions in parts of the longer
        side, from the frame's centre, y downwards.

    Raises:
        UserError: the interpreter is not installed, or the file is not MoveNet.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError(
            "The package ai-edge-litert, which runs MoveNet, is not installed. "
            "Run `pip install ai-edge-litert`."
        ) from None

    def load() -> Interpreter:
        try:
            interpreter = Interpreter(str(weights), num_threads=1)
            interpreter.allocate_tensors()
            [source], [result] = interpreter.get_input_details(), interpreter.get_output_details()
            shapes = (tuple(source["shape"]), tuple(result["shape"]), source["dtype"])
        except (ValueError, RuntimeError) as error:
            shapes = str(error).splitlines()[0]
        if shapes != ((1, SIDE, SIDE, 3), (1, 1, JOINTS, 3), np.uint8):
            raise UserError(
                f"Expected MoveNet SinglePose Lightning with 8-bit input at {weights}. "
                f"Received: {shapes}. Name that file in backbones.movenet.weights."
            )
        return interpreter

    load()
    of_thread = threading.local()

    def key_points(frames: np.ndarray) -> np.ndarray:
        if not hasattr(of_thread, "interpreter"):
            of_thread.interpreter = load()
        interpreter = of_thread.interpreter
        source = interpreter.get_input_details()[0]["index"]
        result = interpreter.get_output_details()[0]["index"]
        points = np.empty((len(frames), JOINTS, 3), np.float32)
        for t, frame in enumerate(frames):
            interpreter.set_tensor(source, square(frame)[None])
            interpreter.invoke()
            points[t] = interpreter.get_tensor(result)[0, 0]
        points[..., :2] -= 0.5
        return points.reshape(len(frames), -1)

    return key_points


def square(frame: np.ndarray) -> np.ndarray:
    """Scale a frame, (H, W, 3), so that it fits `SIDE` × `SIDE`, and pad it evenly with black."""
    height, width = frame.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas

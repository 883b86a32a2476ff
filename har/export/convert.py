"""A trained network for other runtimes: ONNX, LiteRT (phones), SavedModel (TensorFlow Serving).

The exported network is compared with the original on clips of a moving pattern before it is
written.
"""

import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from har import files
from har.errors import UserError
from har.nn import process
from har.nn.layers import ConvLSTM2D, FoldTime, UnfoldTime
from har.predictor.recogniser import Recogniser

ONNX, LITERT, SAVED_MODEL = "onnx", "litert", "savedmodel"
FORMATS = (ONNX, LITERT, SAVED_MODEL)
_SUFFIX = {ONNX: ".onnx", LITERT: ".tflite", SAVED_MODEL: ""}
_PACKAGES = {ONNX: ("onnx", "onnxruntime"), LITERT: ("ai_edge_litert",), SAVED_MODEL: ()}

N_CLIPS = 8  # that both networks are compared on
TOLERANCE = 1e-4  # of a probability, in float arithmetic
TOLERANCE_INT8 = 0.1  # with weights of 8 bits


def export(folder: Path | str, to: str, output: Path | None = None, *, int8: bool = False) -> str:
    """Convert a model, compare it with the original, and only then write it; return a report.

    `folder` is as `Recogniser.open` takes it, `to` one of `FORMATS`; `output`, by default in
    `exports/`, is a file or the folder of a SavedModel; the card lies beside it. `int8` weights of
    LiteRT make the file a quarter as large. A `UserError` says why nothing was written.
    """
    _check(to, int8=int8)
    kind = f"{'-int8' if int8 else ''}{_SUFFIX[to]}"
    output = output or Path("exports", f"{Path(folder).resolve().name}{kind}")
    # An export would replace a folder with all in it; an older SavedModel may go.
    if output.is_dir() and not (to == SAVED_MODEL and (output / "saved_model.pb").exists()):
        raise UserError(
            f"Expected a new file or folder to write. Received: {output}, a folder with other "
            f"content. Name what to write in it: {output / f'model{_SUFFIX[to]}'}, say."
        )
    recogniser = Recogniser.open(folder, precision="float32")
    with tempfile.TemporaryDirectory(dir=files.folder("export")) as scratch:
        made = Path(scratch) / f"model{_SUFFIX[to]}"
        try:
            with process.without_standard_error():  # converters write there
                _convert(recogniser.model, to, made, int8=int8)
                run = _runner(to, made)
        except Exception as error:  # converters raise exceptions of any kind
            raise UserError(
                f"Expected operations that {to} has in {folder}. Received: {_first_line(error)}. "
                f"Export to another format: {', '.join(name for name in FORMATS if name != to)}."
            ) from None
        difference, limit = _difference(recogniser, run), TOLERANCE_INT8 if int8 else TOLERANCE
        if not difference <= limit:  # NaN is not
            raise UserError(
                f"Expected the exported network to agree within {limit:g}. Received: a difference "
                f"of {difference:.2g}. Nothing was written; try another format."
            )
        written = made.rglob("*") if made.is_dir() else [made]
        megabytes = sum(file.stat().st_size for file in written if file.is_file()) / 1e6
        files.publish(made, output)
    files.write_json(output.with_name(f"{output.name}.json"), recogniser.card)
    return (
        f"{output}: {megabytes:.2f} MB; probabilities differ from the original's by at most "
        f"{difference:.1e} on {N_CLIPS} clips of a moving pattern"
    )


def _check(to: str, *, int8: bool) -> None:
    if int8 and to != LITERT:
        raise UserError(f"Expected --to litert with --int8. Received: --to {to}. Leave --int8 out.")
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Expected the TensorFlow backend. Received: {keras.backend.backend()}. Model files do "
            "not depend on it: set KERAS_BACKEND=tensorflow for the export."
        )
    for package in _PACKAGES[to]:
        if not importlib.util.find_spec(package):
            raise UserError(
                f"The package {package}, which {to} needs, is not installed. "
                'Run `pip install "har-lab[export]"`.'
            )


def _difference(recogniser: Recogniser, run: Callable[[np.ndarray], np.ndarray]) -> float:
    rng, (T, H, W) = np.random.default_rng(0), recogniser.shape
    largest = 0.0
    for speed in range(N_CLIPS):
        squares = rng.integers(0, 256, (-(-H // 8), -(-W // 8), 3), np.uint8)
        picture = squares.repeat(8, axis=0).repeat(8, axis=1)[:H, :W]
        clip = np.stack([np.roll(picture, speed * t, axis=1) for t in range(T)])[None]
        found, known = run(clip), recogniser.probabilities(clip)
        largest = np.maximum(largest, np.abs(found - known).max())  # NaN stays
    return float(largest)


def portable(model: keras.Model) -> keras.Model:
    """Return the same network, with its weights, of operations that every runtime has.

    Loops are unrolled, which LiteRT needs to quantise their weights. Pooling within frames becomes
    pooling of images: LiteRT has no pooling over three axes.
    """
    copy = keras.models.clone_model(model, clone_function=_portable_layer)
    copy.set_weights(model.get_weights())
    # Keras exports to ONNX only a model that was called.
    copy(np.zeros((1, *model.input.shape[1:]), np.uint8))
    return copy


def _portable_layer(layer: keras.Layer) -> keras.Layer:
    layers = keras.layers
    if isinstance(layer, keras.Model):  # a backbone inside
        return keras.models.clone_model(layer, clone_function=_portable_layer)
    if isinstance(layer, layers.Bidirectional):
        forward, backward = map(_portable_layer, (layer.forward_layer, layer.backward_layer))
        config = {"merge_mode": layer.merge_mode, "name": layer.name}
        return layers.Bidirectional(forward, backward_layer=backward, **config)
    config = layer.get_config()
    if isinstance(layer, ConvLSTM2D):
        return layers.ConvLSTM2D.from_config(config | {"unroll": True})
    if isinstance(layer, layers.LSTM | layers.GRU | layers.SimpleRNN):
        config["unroll"] = True
    if isinstance(layer, layers.MaxPooling3D) and layer.pool_size[0] == layer.strides[0] == 1:
        pool = layers.MaxPooling2D(layer.pool_size[1:], layer.strides[1:], layer.padding)
        steps = [FoldTime(), pool, UnfoldTime(layer.input.shape[1])]
        return keras.Sequential(steps, name=layer.name)
    return type(layer).from_config(config)


def _convert(model: keras.Model, to: str, path: Path, *, int8: bool) -> None:
    options = {"format": {SAVED_MODEL: "tf_saved_model"}.get(to, to), "verbose": False}
    if to == LITERT:
        import tensorflow as tf

        # LiteRT cannot unroll a loop over a batch of unknown size.
        clip = tf.TensorSpec((1, *model.input.shape[1:]), tf.uint8, name="clips")
        # Phones do not have TensorFlow's own operations.
        target = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
        options |= {"input_signature": [clip], "target_spec": target}
        if int8:
            options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    (model if to == SAVED_MODEL else portable(model)).export(path, **options)


def _runner(to: str, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    # The exported network as a function of one clip, (1, T, H, W, 3) to (1, C).
    if to == ONNX:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda clip: session.run(None, {name: clip})[0]
    if to == LITERT:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
        (source,) = interpreter.get_input_details()
        (result,) = interpreter.get_output_details()

        def run(clip: np.ndarray) -> np.ndarray:
            interpreter.set_tensor(source["index"], clip)
            interpreter.invoke()
            return interpreter.get_tensor(result["index"]).copy()

        return run
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return lambda clip: loaded.serve(clip).numpy()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("TF Select ops:")]
    return (named or lines or [type(error).__name__])[0][:300].rstrip(".")

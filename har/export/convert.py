"""A trained network for other runtimes: ONNX, LiteRT (phones), SavedModel (TensorFlow Serving).

The exported network is compared with the original on clips of the test fold before it is written.
"""

import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from har import files
from har.clips import segments, splits, store, video
from har.errors import UserError
from har.export import int8 as quantisation
from har.nn import process
from har.nn.layers import ConvLSTM2D, FoldTime, UnfoldTime
from har.predictor.figures import MODELS
from har.predictor.recogniser import Recogniser

ONNX, LITERT, SAVED_MODEL = "onnx", "litert", "savedmodel"
FORMATS = (ONNX, LITERT, SAVED_MODEL)
_SUFFIX = {ONNX: ".onnx", LITERT: ".tflite", SAVED_MODEL: ""}
_PACKAGES = {ONNX: ("onnx", "onnxruntime"), LITERT: ("ai_edge_litert",), SAVED_MODEL: ()}

CALIBRATED, TIMED, PART = 100, 30, 32  # clips: for calibration, for timing, in memory at a time
TOLERANCE = 1e-4  # of probabilities, in float arithmetic
LOSS = 0.02  # of accuracy, with int8


class Clips(NamedTuple):
    """The clips that an exported network is compared on."""

    test: list[str]  # of the fold that the model was not trained on
    training: list[str]  # at most `CALIBRATED`, evenly taken of the training clips
    # From names to frames, uint8 (N, T, H, W, 3) RGB, and labels, int64 (N,).
    read: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]


class Report(NamedTuple):
    """An exported network beside the original; pairs are (exported, original)."""

    output: Path
    difference: float  # the largest, of a probability of a test clip
    n_test: int
    accuracy: tuple[float, float]
    megabytes: tuple[float, float]
    milliseconds: tuple[float, float]  # median time of one clip
    floats: tuple[str, ...] = ()  # with int8: kinds of the operations that stayed float, in order
    n_operations: int = 0  # with int8: of all kinds

    def __str__(self) -> str:
        lines = [
            f"{self.output}: largest difference {self.difference:.1e} on {self.n_test} clips",
            f"{'':10}{'exported':>12}{'original':>12}",
            "accuracy  {:12.3f}{:12.3f}".format(*self.accuracy),
            "size      {:9.2f} MB{:9.2f} MB".format(*self.megabytes),
            "latency   {:9.2f} ms{:9.2f} ms".format(*self.milliseconds),
        ]
        if self.n_operations:
            kinds = ", ".join(self.floats) or "none"
            of = f"{len(self.floats)} of {self.n_operations}"
            lines.append(f"in floats {of} operations: {kinds}")
        return "\n".join(lines)


def export(
    folder: Path | str, to: str, data: Path, output: Path | None = None, *, int8: bool = False
) -> Report:
    """Convert a model, compare it with the original, and only then write it.

    Args:
        folder: as `Recogniser.open` takes it.
        to: one of `FORMATS`.
        data: folder of frames.h5, split.csv and videos.
        output: file, or folder of a SavedModel; by default in `exports/`. The card lies beside it.
        int8: see `har.export.int8`; LiteRT only.

    Raises:
        UserError: a package is missing, the format cannot hold the network, or the exported
            network answers otherwise; then nothing is written.
    """
    _check(to, int8=int8)
    kind = f"{'-int8' if int8 else ''}{_SUFFIX[to]}"
    output = output or Path("exports", f"{Path(folder).resolve().name}{kind}")
    _check_output(to, output)
    recogniser = Recogniser.open(folder)
    if recogniser.backbone:
        raise UserError(
            f"{folder} cannot be exported: it takes features of a network that is not a Keras "
            "model. Export a model that takes frames, such as lrcn."
        )
    clips = read_clips(recogniser, data)
    training = clips.read(clips.training)[0] if int8 else None
    original = next(f for f in (Path(folder), MODELS / folder) if (f / "model.keras").is_file())
    with tempfile.TemporaryDirectory(dir=files.folder("export")) as scratch:
        made = Path(scratch) / f"model{_SUFFIX[to]}"
        try:
            with process.without_standard_error():  # converters write there
                _convert(recogniser.model, to, made, training)
                run = _runner(to, made)
        except Exception as error:  # converters raise exceptions of any kind
            raise UserError(
                f"Expected operations that {to} has in {folder}. Received: {_first_line(error)}. "
                f"Export to another format: {', '.join(name for name in FORMATS if name != to)}."
            ) from None
        size = _megabytes(made), _megabytes(original / "model.keras")
        report = _compare(recogniser, run, clips, output, size)
        card = dict(recogniser.card)
        if int8:
            network = quantisation.operations(made.read_bytes())
            count = sum(operation.kind not in quantisation.BETWEEN for operation in network)
            floats = tuple(quantisation.in_floats(network))
            report = report._replace(floats=floats, n_operations=count)
            card["int8"] = {"operations": count, "in_floats": floats}
        _check_answers(report, int8=int8)
        files.publish(made, output)
    files.write_text(output.with_name(f"{output.name}.json"), json.dumps(card, indent=2) + "\n")
    return report


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
                'Run `pip install "har[export]"`.'
            )


def _check_output(to: str, output: Path) -> None:
    # An export would replace a folder with all in it; an older SavedModel may go.
    if output.is_dir() and not (to == SAVED_MODEL and (output / "saved_model.pb").exists()):
        raise UserError(
            f"Expected a new file or folder to write. Received: {output}, a folder with other "
            f"content. Name what to write in it: {output / f'model{_SUFFIX[to]}'}, say."
        )


def read_clips(recogniser: Recogniser, data: Path) -> Clips:
    """Return the clips, in `data`, that `recogniser` was trained and tested on.

    Raises:
        UserError: they are not there, or are of other classes.
    """
    card, sampling = recogniser.card, recogniser.sampling
    if "protocol" not in card:
        raise UserError(
            f"{recogniser.name} was not trained on clips of a project, so its export cannot be "
            "compared with the original. Export a model of the project."
        )
    path = data / "frames.h5"
    with store.FrameStore(path) as frames:
        classes, stored = frames.classes, frames.shape
    if classes != recogniser.classes:
        raise UserError(
            f"Expected clips of the model's {len(recogniser.classes)} classes in "
            f"{path}. Received: {len(classes)} other classes. Run `dvc repro`."
        )
    subsets = splits.read(data / "split.csv", card["protocol"], card["fold"] or 0)
    chosen = video.even_indices(len(subsets.train), min(CALIBRATED, len(subsets.train)))

    def read(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        with store.FrameStore(path) as frames:
            labels = frames.labels_of(names)
            if sampling.step is None and stored[1:] == (sampling.height, sampling.width):
                picked = video.even_indices(stored[0], sampling.count)
                return frames.read(names)[0][:, picked], labels
        try:
            found = [segments.locate(data / "fetched", name) for name in names]
            taken = [sampling.read(path, None, *span)[0] for path, *span in found]
            return np.stack(taken), labels
        except video.UnreadableVideoError as error:
            raise UserError(f"A clip in {data / 'fetched'} does not decode: {error}.") from None

    return Clips(list(subsets.test), [subsets.train[i] for i in chosen], read)


def _compare(
    recogniser: Recogniser, run: Callable, clips: Clips, output: Path, size: tuple[float, float]
) -> Report:
    difference, right = 0.0, np.zeros(2)
    for start in range(0, len(clips.test), PART):
        frames, labels = clips.read(clips.test[start : start + PART])
        found = np.concatenate([run(clip[None]) for clip in frames])
        known = recogniser.probabilities(frames)
        difference = np.maximum(difference, np.abs(found - known).max())  # NaN stays
        right += [(answers.argmax(axis=1) == labels).sum() for answers in (found, known)]
    speed = tuple(_milliseconds(f, frames) for f in (run, recogniser.model.predict_on_batch))
    accuracy = tuple(right / len(clips.test))
    return Report(output, float(difference), len(clips.test), accuracy, size, speed)


def _check_answers(report: Report, *, int8: bool) -> None:
    lost = report.accuracy[1] - report.accuracy[0]
    if int8 and lost > LOSS:
        raise UserError(
            f"Expected the exported network to lose at most {LOSS:.0%} of accuracy. Received: "
            f"{lost:.1%} lost. Nothing was written; leave --int8 out."
        )
    if not int8 and not report.difference <= TOLERANCE:  # NaN is not
        raise UserError(
            f"Expected the exported network to agree within {TOLERANCE:g}. Received: a difference "
            f"of {report.difference:.2g}. Nothing was written; try another format."
        )


def portable(model: keras.Model) -> keras.Model:
    """Return the same network, with its weights, of operations that every runtime has.

    Loops are unrolled: quantisation does not see into them. Pooling within frames becomes pooling
    of images: LiteRT has no pooling over three axes.
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


def _convert(model: keras.Model, to: str, path: Path, training: np.ndarray | None) -> None:
    if training is not None:
        path.write_bytes(quantisation.quantise(portable(model), training))
        return
    options = {"format": {SAVED_MODEL: "tf_saved_model"}.get(to, to), "verbose": False}
    if to == LITERT:
        import tensorflow as tf

        # LiteRT cannot unroll a loop over a batch of unknown size.
        clip = tf.TensorSpec((1, *model.input.shape[1:]), tf.uint8, name="clips")
        # Phones do not have TensorFlow's own operations.
        target = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
        options |= {"input_signature": [clip], "target_spec": target}
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


def _milliseconds(run: Callable[[np.ndarray], np.ndarray], clips: np.ndarray) -> float:
    times = []
    for i in range(TIMED + 3):
        clip = clips[i % len(clips)][None]
        start = time.perf_counter()
        np.asarray(run(clip))
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1000


def _megabytes(path: Path) -> float:
    found = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in found if file.is_file()) / 1e6


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("TF Select ops:")]
    return (named or lines or [type(error).__name__])[0][:300].rstrip(".")

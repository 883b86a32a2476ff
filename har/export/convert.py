"""A trained network for other runtimes: ONNX, LiteRT (phones), SavedModel (TensorFlow Serving).

Whatever is written was first run beside the original on clips of the test fold; what differs is
not written.
"""

import contextlib
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from har import files
from har.clips import splits, store
from har.clips.video import even_indices
from har.errors import UserError
from har.export import int8
from har.nn import layers as har_layers
from har.nn.backend import keras
from har.predictor.recogniser import Recogniser

ONNX, LITERT, SAVED_MODEL = "onnx", "litert", "savedmodel"
FORMATS = (ONNX, LITERT, SAVED_MODEL)
_SUFFIX = {ONNX: ".onnx", LITERT: ".tflite", SAVED_MODEL: ""}
_PACKAGES = {ONNX: ("onnx", "onnxruntime"), LITERT: ("ai_edge_litert",), SAVED_MODEL: ()}

CHECKED, CALIBRATED, TIMED = 50, 100, 30
TOLERANCE = 1e-4  # of probabilities, float
LOSS = 0.02  # of accuracy, int8


@dataclass(frozen=True)
class Clips:
    """What an exported network is held against.

    Attributes:
        test: uint8 (N, T, H, W, 3) RGB, of the fold that the model was not trained on.
        labels: int64 (N,).
        training: uint8 (M, T, H, W, 3), evenly taken of the training clips, to calibrate.
    """

    test: np.ndarray
    labels: np.ndarray
    training: np.ndarray


@dataclass(frozen=True)
class Report:
    """An exported network beside the original.

    Attributes:
        output: the file or folder that was written.
        difference: the largest, of any probability of any checked clip.
        n_checked: clips behind `difference`.
        accuracy: of the exported and of the original network on the test clips.
        n_test: clips behind `accuracy`.
        megabytes: sizes of the exported and of the original.
        milliseconds: median time of one clip, exported and original.
        floats: with int8, the kinds of the operations that stayed float, in the order they run.
        n_operations: with int8, of how many.
    """

    output: Path
    difference: float
    n_checked: int
    accuracy: tuple[float, float]
    n_test: int
    megabytes: tuple[float, float]
    milliseconds: tuple[float, float]
    floats: tuple[str, ...] = ()
    n_operations: int = 0


def read_clips(recogniser: Recogniser, data: Path) -> Clips:
    """Read the clips of the project that `recogniser` was trained and tested on.

    Args:
        recogniser: its card names the split.
        data: folder of frames.h5 and split.csv.

    Raises:
        UserError: they are not there, or are clips of other classes or another size.
    """
    card = recogniser.card
    with store.FrameStore(data / "frames.h5") as frames:
        count, height, width = recogniser.shape
        if frames.classes != recogniser.classes or frames.shape[1:] != (height, width):
            raise UserError(
                f"Expected clips of the model's classes at {height} x {width} in "
                f"{data / 'frames.h5'}. Received: {len(frames.classes)} classes at "
                f"{frames.shape[1]} x {frames.shape[2]}. Run `dvc repro` to bring both together."
            )
        subsets = splits.read(data / "split.csv", card["protocol"], card["fold"])
        chosen = even_indices(len(subsets.train), min(CALIBRATED, len(subsets.train)))
        picked = even_indices(frames.shape[0], count)
        test, labels = frames.read(subsets.test)
        training, _ = frames.read([subsets.train[i] for i in chosen])
        return Clips(test[:, picked], labels, training[:, picked])


def export(
    recogniser: Recogniser, folder: Path, to: str, clips: Clips, output: Path, *, int8: bool
) -> Report:
    """Convert, check, and only then write.

    Args:
        recogniser: the model.
        folder: where it was loaded from.
        to: one of `FORMATS`.
        clips: to check it on.
        output: the file, or folder for a SavedModel; beside it goes the card, `….json`.
        int8: whole numbers of 8 bits from the first weights on, see `har.export.int8`; LiteRT
            only.

    Raises:
        UserError: a package is missing, the format cannot hold the network, or the exported
            network answers otherwise; then nothing is written.
    """
    check(to, int8=int8)
    check_output(to, output)
    model, shape = recogniser.model, recogniser.shape
    made = files.folder("export") / f"{os.getpid()}-{output.name}{_SUFFIX[to]}"
    _remove(made)
    try:
        with _quietly():
            _convert(model, shape, to, made, clips.training if int8 else None)
            run = _runner(to, made)
    except Exception as error:  # converters raise what they like
        _remove(made)
        raise UserError(
            f"Expected operations that {to} has in {folder}. Received: {_first_line(error)}. "
            f"Export to another format: {', '.join(name for name in FORMATS if name != to)}."
        ) from None
    checked = clips.test[even_indices(len(clips.test), min(CHECKED, len(clips.test)))]
    known = recogniser.probabilities(checked)
    difference = float(np.abs(_all(run, checked) - known).max())
    accuracy = tuple(
        float((answers.argmax(axis=1) == clips.labels).mean())
        for answers in (_all(run, clips.test), recogniser.probabilities(clips.test))
    )
    network = int8.operations(made.read_bytes()) if int8 else []
    report = Report(
        output,
        difference,
        len(checked),
        accuracy,
        len(clips.labels),
        (_megabytes(made), _megabytes(folder / "model.keras")),
        (_milliseconds(run, clips.test), _milliseconds(model.predict_on_batch, clips.test)),
        tuple(int8.in_floats(network)),
        sum(operation.kind not in int8.BETWEEN for operation in network),
    )
    lost = accuracy[1] - accuracy[0]
    if (int8 and lost > LOSS) or (not int8 and not difference <= TOLERANCE):
        _remove(made)
        raise UserError(
            f"Expected the exported network to "
            f"{f'lose at most {LOSS:.0%} of accuracy' if int8 else f'agree within {TOLERANCE:g}'}. "
            f"Received: {f'{lost:.1%} lost' if int8 else f'a difference of {difference:.2g}'}. "
            f"Nothing was written; {'leave --int8 out' if int8 else 'try another format'}."
        )
    files.publish(made, output)
    card = dict(recogniser.card)
    if int8:
        card["int8"] = {"operations": report.n_operations, "in_floats": report.floats}
    files.write_text(output.with_name(f"{output.name}.json"), json.dumps(card, indent=2) + "\n")
    return report


def check(to: str, *, int8: bool) -> None:
    """Raise a `UserError` for what cannot be exported at all."""
    if int8 and to != LITERT:
        raise UserError(f"Expected --to litert with --int8. Received: --to {to}. Leave --int8 out.")
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            "Expected the TensorFlow backend, whose converters are used. Received: "
            f"{keras.backend.backend()}. Model files do not depend on it: set "
            "KERAS_BACKEND=tensorflow for the export."
        )
    for package in _PACKAGES[to]:
        try:
            __import__(package)
        except ImportError:
            raise UserError(
                f"Expected the package {package}, which {to} needs. Received: not installed. "
                'Run `pip install "har[export]"`.'
            ) from None


def check_output(to: str, output: Path) -> None:
    """Raise a `UserError` where `output` is a folder that an export would replace with all in it.

    An older SavedModel may be replaced by a newer one.
    """
    if output.is_dir() and not (to == SAVED_MODEL and (output / "saved_model.pb").exists()):
        raise UserError(
            f"Expected a new file or folder to write. Received: {output}, a folder with other "
            f"content. Name what to write in it: {output / f'model{_SUFFIX[to]}'}, say."
        )


def default_output(folder: Path, to: str, *, int8: bool) -> Path:
    """Return where a network of `folder` goes: `exports/lrcn.onnx`, say."""
    return Path("exports") / f"{folder.resolve().name}{'-int8' if int8 else ''}{_SUFFIX[to]}"


def portable(model: keras.Model) -> keras.Model:
    """Return the same network of operations that every runtime has, with its weights.

    Loops over frames are unrolled: quantisation cannot look into a loop. Pooling of single
    frames becomes that of images: LiteRT has no other.
    """
    copy = keras.models.clone_model(model, clone_function=_portable_layer)
    copy.set_weights(model.get_weights())
    # Keras exports to ONNX what was called once.
    copy(np.zeros((1, *model.input.shape[1:]), np.uint8))
    return copy


def _portable_layer(layer: keras.Layer) -> keras.Layer:
    layers = keras.layers
    if isinstance(layer, layers.Bidirectional):
        return layers.Bidirectional(
            _portable_layer(layer.forward_layer),
            backward_layer=_portable_layer(layer.backward_layer),
            merge_mode=layer.merge_mode,
            name=layer.name,
        )
    unrolled = layer.get_config() | {"unroll": True}
    if isinstance(layer, har_layers.ConvLSTM2D):
        return layers.ConvLSTM2D.from_config(unrolled)
    if isinstance(layer, layers.LSTM | layers.GRU | layers.SimpleRNN):
        return type(layer).from_config(unrolled)
    if isinstance(layer, layers.MaxPooling3D) and layer.pool_size[0] == layer.strides[0] == 1:
        pool = layers.MaxPooling2D(layer.pool_size[1:], layer.strides[1:], layer.padding)
        steps = [har_layers.FoldTime(), pool, har_layers.UnfoldTime(layer.input.shape[1])]
        return keras.Sequential(steps, name=layer.name)
    return type(layer).from_config(layer.get_config())


def _convert(
    model: keras.Model,
    shape: tuple[int, int, int],
    to: str,
    path: Path,
    training: np.ndarray | None,
) -> None:
    if to == SAVED_MODEL:
        model.export(path, format="tf_saved_model", verbose=False)
        return
    if to == ONNX:
        portable(model).export(path, format="onnx", verbose=False)
        return
    if training is not None:
        path.write_bytes(int8.quantise(portable(model), training))
        return
    import tensorflow as tf

    portable(model).export(
        path,
        format="litert",
        verbose=False,
        # One clip at a time: of a batch of unknown size, LiteRT cannot unroll the loop.
        input_signature=[tf.TensorSpec((1, *shape, 3), tf.uint8, name="clips")],
        # Else TensorFlow's own operations would be called for, which phones do not have.
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
    )


def _runner(to: str, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return the exported network as a function of one clip, (1, T, H, W, 3) to (1, C)."""
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


def _all(run: Callable[[np.ndarray], np.ndarray], clips: np.ndarray) -> np.ndarray:
    return np.concatenate([run(clip[None]) for clip in clips])


def _milliseconds(run: Callable[[np.ndarray], np.ndarray], clips: np.ndarray) -> float:
    times = []
    for i in range(TIMED + 3):
        clip = clips[i % len(clips)][None]
        start = time.perf_counter()
        np.asarray(run(clip))
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:]) * 1000


def _megabytes(path: Path) -> float:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith("TF Select ops:")]
    return (named or lines or [type(error).__name__])[0][:300].rstrip(".")


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Drop what converters write; exceptions still come through."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (a descriptor is wanted)
        for descriptor in (1, 2):
            os.dup2(nowhere.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, old in zip((1, 2), saved, strict=True):
            os.dup2(old, descriptor)
            os.close(old)

import io
import json
import tracemalloc
from contextlib import redirect_stderr

import keras
import numpy as np
import pytest

from har import layers, training, work
from har.errors import UserError
from har.training import Batches

SHAPE = (3, 8, 8)
N_CLASSES = 3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


def make_clips(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise, brightest in the channel that is the label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % N_CLASSES
    frames = rng.integers(0, 180, (n, *SHAPE, 3), np.uint8)
    frames[np.arange(n), ..., labels] += 70
    return frames, labels


def build(hidden: int = 8) -> keras.Model:
    """A small network with every kind of randomness: augmentation, dropout, initial weights."""
    clips = keras.Input((*SHAPE, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(clips)
    x = layers.AugmentClip(zoom=0.1, shift=0.1, brightness=0.1, contrast=0.1, seed=1)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.2, seed=2)(x)
    x = keras.layers.Dense(hidden, "relu")(x)
    x = keras.layers.Dense(N_CLASSES, "softmax", dtype="float32")(x)
    return keras.Model(clips, x, name="small")


def fit(folder, train=None, validation=None, build=build, **changes) -> training.Fit:
    arguments = {
        "learning_rate": 0.003,
        "schedule": "cosine",
        "epochs": 4,
        "batch": 4,
        "patience": 10,
        "precision": "float32",
        "seed": 3,
        "backup": folder / "backup.npz",
    }
    return training.fit(
        build, train or make_clips(18), validation or make_clips(9, 1), **(arguments | changes)
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> training.Fit:
    return fit(tmp_path_factory.mktemp("unbroken"))


def assert_same(one: training.Fit, other: training.Fit) -> None:
    assert one.history == other.history
    assert one.best_epoch == other.best_epoch
    weights = zip(one.model.get_weights(), other.model.get_weights(), strict=True)
    for a, b in weights:
        np.testing.assert_array_equal(a, b)


class PowerCut(np.ndarray):
    """Frames that can be read `left` times, then no more."""

    left = 0

    def __getitem__(self, rows):
        PowerCut.left -= 1
        if PowerCut.left < 0:
            raise RuntimeError("the power is cut")
        return np.asarray(super().__getitem__(rows))


def with_power_cut(clips, left: int):
    PowerCut.left = left
    return clips[0].view(PowerCut), clips[1]


def test_batches_are_uint8_and_hold_every_clip_once():
    frames, labels = make_clips(10)
    batches = Batches(frames, labels, 4, seed=1)
    assert len(batches) == 3
    got = [batches[i] for i in range(3)]
    assert [len(x) for x, _ in got] == [4, 4, 2]
    for x, y in got:
        assert x.dtype == np.uint8
        for clip, label in zip(x, y, strict=True):
            [row] = np.flatnonzero((frames == clip).all(axis=(1, 2, 3, 4)))
            assert labels[row] == label
    together = np.concatenate([x for x, _ in got])
    assert sorted(map(bytes, together)) == sorted(map(bytes, frames))


def orders(n_epochs: int, seed, start: int = 0) -> list[list[int]]:
    rows = np.arange(12)
    batches = Batches(rows.astype(np.uint8), rows, 5, seed)
    batches.start_epoch(start)
    found = []
    for _ in range(n_epochs):
        found.append(np.concatenate([batches[i][1] for i in range(len(batches))]).tolist())
        batches.on_epoch_end()
    return found


def test_each_epoch_has_its_own_order_and_every_run_the_same():
    four = orders(4, seed=7)
    assert len({tuple(order) for order in four}) == 4
    assert all(sorted(order) == list(range(12)) for order in four)
    assert orders(4, seed=7) == four
    assert orders(4, seed=8) != four
    assert orders(2, seed=7, start=2) == four[2:]


def test_without_a_seed_the_order_is_kept():
    assert orders(2, seed=None) == [list(range(12))] * 2


def test_batches_never_copy_the_whole():
    frames = np.zeros((500, 4, 16, 16, 3), np.uint8)
    labels = np.zeros(500, np.int64)
    tracemalloc.start()
    batches = Batches(frames, labels, 10, seed=1)
    for i in range(len(batches)):
        assert batches[i][0].dtype == np.uint8
    batches.on_epoch_end()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * frames[:10].nbytes < frames.nbytes / 5


def test_training_learns(tmp_path):
    result = fit(tmp_path, make_clips(60), epochs=12, learning_rate=0.01)
    assert result.history[-1]["val_accuracy"] == 1.0
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert [row["epoch"] for row in result.history] == list(range(1, 13))
    assert tuple(result.history[0]) == training.HISTORY_COLUMNS


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path, unbroken):
    assert_same(fit(tmp_path / "again"), unbroken)
    assert fit(tmp_path / "other", seed=4, epochs=1).history[0] != unbroken.history[0]


@pytest.mark.parametrize("reads", [1, 13])
def test_training_that_was_interrupted_ends_as_unbroken_training(tmp_path, unbroken, reads):
    # Five batches an epoch and one that Keras peeks at: it stops in epoch 1 or in epoch 3.
    with pytest.raises(Exception, match="the power is cut"):
        fit(tmp_path, with_power_cut(make_clips(18), reads))
    done = 0
    if (tmp_path / "backup.npz").exists():
        with np.load(tmp_path / "backup.npz") as saved:
            done = len(json.loads(str(saved["history"])))
    assert done == reads // 6
    assert_same(fit(tmp_path), unbroken)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_resuming_with_another_precision_and_schedule(tmp_path, precision):
    options = {"precision": precision, "schedule": "constant", "epochs": 2}
    unbroken = fit(tmp_path / "unbroken", **options)
    assert unbroken.model.output.dtype == "float32"
    with pytest.raises(Exception, match="the power is cut"):
        fit(tmp_path / "broken", with_power_cut(make_clips(18), 7), **options)
    assert (tmp_path / "broken" / "backup.npz").exists()
    assert_same(fit(tmp_path / "broken", **options), unbroken)


def test_finished_training_is_not_begun_again(tmp_path):
    result = fit(tmp_path, epochs=2)
    assert_same(fit(tmp_path, with_power_cut(make_clips(18), 0), epochs=2), result)


def test_early_stopping(tmp_path):
    # Labels of validation that training does not know of: its loss only rises.
    frames, labels = make_clips(9, 1)
    wrong = frames, (labels + 1) % N_CLASSES
    options = {"schedule": "constant", "learning_rate": 0.01, "epochs": 20, "patience": 3}
    result = fit(tmp_path / "stopped", None, wrong, **options)
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == result.best_epoch + 3 < 20
    # The weights are those of training up to the best epoch.
    best = fit(tmp_path / "best", None, wrong, **options | {"epochs": result.best_epoch})
    for a, b in zip(result.model.get_weights(), best.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    found = result.model.evaluate(*wrong, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(min(losses), rel=1e-5)
    # Patience and the best weights survive an interruption.
    with pytest.raises(Exception, match="the power is cut"):
        fit(tmp_path / "broken", with_power_cut(make_clips(18), 14), wrong, **options)
    assert_same(fit(tmp_path / "broken", None, wrong, **options), result)


def test_a_loss_that_is_no_number_is_the_users_to_mend(tmp_path):
    for _ in range(2):  # nor does a second run go on from there
        with pytest.raises(
            UserError, match=r"finite loss. Received: (nan|inf) .* small.learning_r"
        ):
            fit(tmp_path, learning_rate=1e30, schedule="constant", epochs=1)


def test_the_cosine_schedule(tmp_path):
    optimizer = fit(tmp_path, epochs=8, learning_rate=0.01).model.optimizer
    assert int(optimizer.iterations) == 40
    # 8 epochs of 5 steps: 2 to warm up, 38 down along half a cosine.
    for step, share in ((0, 0.0), (1, 0.5), (2, 1.0), (21, 0.5), (40, 0.0)):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(0.01 * share, abs=1e-7), step


def test_the_bar_ends_its_line_before_an_error_is_told(tmp_path):
    options = {"learning_rate": 1e30, "schedule": "constant", "epochs": 1}
    with redirect_stderr(Terminal()) as said, pytest.raises(UserError) as caught:
        fit(tmp_path, **options)
    assert "Training small" in said.getvalue()
    assert said.getvalue().endswith("\n")
    assert caught.value


def test_fewer_clips_than_a_batch(tmp_path):
    options = {"schedule": "constant", "learning_rate": 0.01, "epochs": 1}
    result = fit(tmp_path, make_clips(3), make_clips(2), batch=64, **options)
    assert len(result.history) == 1
    assert float(result.model.optimizer.learning_rate) == pytest.approx(0.01)


def test_progress_is_shown_on_a_terminal_only(tmp_path, capsys):
    with redirect_stderr(Terminal()) as said:
        fit(tmp_path / "one", epochs=2)
    for words in ("Training small: 100%", "36/36", "epoch=2/2", "loss=", "val_accuracy="):
        assert words in said.getvalue()
    assert said.getvalue().endswith("\n")
    fit(tmp_path / "two", epochs=1)
    assert capsys.readouterr() == ("", "")


def test_history_csv(in_tmp_path):
    row = {"epoch": 1, "loss": 1 / 3, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 1.0}
    path = work.folder() / "history.csv"
    training.write_history(path, [row, row | {"epoch": 2}])
    assert path.read_text() == (
        "epoch,loss,accuracy,val_loss,val_accuracy\n"
        "1,0.333333,0.500000,2.000000,1.000000\n"
        "2,0.333333,0.500000,2.000000,1.000000\n"
    )


PEAK = """
import threading
import time
from pathlib import Path
import keras
import psutil
from har import store, training

def build():
    clips = keras.Input((8, 64, 64, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(clips)
    x = keras.layers.GlobalAveragePooling3D()(x)
    return keras.Model(clips, keras.layers.Dense(2, "softmax")(x))

peak = 0

def watch():
    global peak
    process = psutil.Process()
    while True:
        peak = max(peak, process.memory_info().rss)
        time.sleep(0.01)

threading.Thread(target=watch, daemon=True).start()

def peak_after_training_on(n):
    names = [f"{'AB'[i % 2]}/{i}" for i in range(n)]
    store.create(Path(f"{n}.h5"), names, [name[0] for name in names], (8, 64, 64))
    with store.FrameStore(Path(f"{n}.h5")) as frames:
        train, validation = frames.read(names[10:]), frames.read(names[:10])
    training.fit(build, train, validation, learning_rate=0.01, schedule="constant", epochs=1,
        batch=16, patience=2, precision="float32", seed=1,
        backup=Path(f"{n}.npz"))
    return peak

few, many = 60, 1260
grown = -peak_after_training_on(few) + peak_after_training_on(many)
print(grown / ((many - few) * 8 * 64 * 64 * 3))
"""


def test_memory_grows_by_at_most_twice_the_pixels(run_python, in_tmp_path):
    process = run_python(PEAK, cwd=in_tmp_path)
    assert process.returncode == 0, process.stderr
    # The pixels themselves are 1.
    assert 0.8 < float(process.stdout) < 2.0

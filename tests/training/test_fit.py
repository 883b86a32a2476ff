import io
import json
from contextlib import redirect_stderr

import keras
import numpy as np
import pytest

from har import files
from har.errors import UserError
from har.nn import preprocessing
from har.params import TrainParams
from har.training import batches, fit

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
    x = preprocessing.AugmentClip(zoom=0.1, shift=0.1, brightness=0.1, contrast=0.1, seed=1)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.2, seed=2)(x)
    x = keras.layers.Dense(hidden, "relu")(x)
    x = keras.layers.Dense(N_CLASSES, "softmax", dtype="float32")(x)
    return keras.Model(clips, x, name="small")


RECIPE = TrainParams(
    frames=SHAPE[0],
    draw="middle",
    epochs=4,
    steps=0,
    batch=4,
    patience=10,
    schedule="cosine",
    weight_decay=0.0,
    average=0.0,
    label_smoothing=0.0,
    balance=False,
    centre=False,
    augment=None,
    precision="float32",
)


def run_fit(
    folder,
    train=None,
    validation=None,
    build=build,
    *,
    learning_rate=0.003,
    n_classes=N_CLASSES,
    seed=3,
    **recipe,
) -> fit.Fit:
    assert set(recipe) <= set(TrainParams.model_fields)
    return fit.fit(
        build,
        train or make_clips(18),
        validation or make_clips(9, 1),
        n_classes=n_classes,
        learning_rate=learning_rate,
        recipe=RECIPE.model_copy(update=recipe),
        seed=seed,
        backup=folder / "backup.npz",
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> fit.Fit:
    return run_fit(tmp_path_factory.mktemp("unbroken"))


def assert_same(one: fit.Fit, other: fit.Fit) -> None:
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


@pytest.fixture(autouse=True)
def no_reading_ahead(monkeypatch):
    """The power fails at a batch that is asked for, not at one that is read for later."""
    monkeypatch.setattr(batches, "AHEAD", 0)


def with_power_cut(clips, left: int):
    PowerCut.left = left
    return clips[0].view(PowerCut), clips[1]


def test_training_learns(tmp_path):
    result = run_fit(tmp_path, make_clips(60), epochs=12, learning_rate=0.01)
    assert result.history[-1]["val_accuracy"] == 1.0
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert [row["epoch"] for row in result.history] == list(range(1, 13))
    assert tuple(result.history[0]) == fit.HISTORY_COLUMNS


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path, unbroken):
    assert_same(run_fit(tmp_path / "again"), unbroken)
    assert run_fit(tmp_path / "other", seed=4, epochs=1).history[0] != unbroken.history[0]


@pytest.mark.parametrize("reads", [1, 13])
def test_training_that_was_interrupted_ends_as_unbroken_training(tmp_path, unbroken, reads):
    # Five batches an epoch and one that Keras peeks at: it stops in epoch 1 or in epoch 3.
    with pytest.raises(Exception, match="the power is cut"):
        run_fit(tmp_path, with_power_cut(make_clips(18), reads))
    done = 0
    if (tmp_path / "backup.npz").exists():
        with np.load(tmp_path / "backup.npz") as saved:
            done = len(json.loads(str(saved["history"])))
    assert done == reads // 6
    assert_same(run_fit(tmp_path), unbroken)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_resuming_with_another_precision_and_schedule(tmp_path, precision):
    options = {"precision": precision, "schedule": "constant", "epochs": 2}
    unbroken = run_fit(tmp_path / "unbroken", **options)
    assert unbroken.model.output.dtype == "float32"
    with pytest.raises(Exception, match="the power is cut"):
        run_fit(tmp_path / "broken", with_power_cut(make_clips(18), 7), **options)
    assert (tmp_path / "broken" / "backup.npz").exists()
    assert_same(run_fit(tmp_path / "broken", **options), unbroken)


@pytest.mark.parametrize(
    "options",
    [
        {"average": 0.9},
        {"weight_decay": 0.2},
        {"label_smoothing": 0.2, "balance": True},
        {
            "average": 0.9,
            "weight_decay": 0.2,
            "label_smoothing": 0.2,
            "balance": True,
            "precision": "mixed_float16",
        },
    ],
    ids=lambda options: "-".join(options),
)
def test_resuming_with_each_ingredient_of_the_recipe(tmp_path, options):
    train = make_clips(18)
    train = train[0], train[1] * (np.arange(18) < 15)  # classes of unequal size
    options = {"epochs": 2, "learning_rate": 0.01, **options}
    unbroken = run_fit(tmp_path / "unbroken", train, **options)
    with pytest.raises(Exception, match="the power is cut"):
        run_fit(tmp_path / "broken", with_power_cut(train, 7), **options)
    assert (tmp_path / "broken" / "backup.npz").exists()
    assert_same(run_fit(tmp_path / "broken", train, **options), unbroken)


def test_a_power_cut_while_averaged_weights_are_validated(tmp_path):
    options = {"epochs": 2, "average": 0.9}
    unbroken = run_fit(tmp_path / "unbroken", **options)
    # Three batches an epoch and one that Keras peeks at: it stops within the second epoch's.
    with pytest.raises(Exception, match="the power is cut"):
        run_fit(tmp_path / "broken", validation=with_power_cut(make_clips(9, 1), 5), **options)
    assert (tmp_path / "broken" / "backup.npz").exists()
    assert_same(run_fit(tmp_path / "broken", **options), unbroken)


def test_finished_training_is_not_begun_again(tmp_path):
    result = run_fit(tmp_path, epochs=2)
    assert_same(run_fit(tmp_path, with_power_cut(make_clips(18), 0), epochs=2), result)


def test_early_stopping(tmp_path):
    # Labels of validation that training does not know of: its loss only rises.
    frames, labels = make_clips(9, 1)
    wrong = frames, (labels + 1) % N_CLASSES
    options = {"schedule": "constant", "learning_rate": 0.01, "epochs": 20, "patience": 3}
    result = run_fit(tmp_path / "stopped", None, wrong, **options)
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == result.best_epoch + 3 < 20
    # The weights are those of training up to the best epoch.
    best = run_fit(tmp_path / "best", None, wrong, **options | {"epochs": result.best_epoch})
    for a, b in zip(result.model.get_weights(), best.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    one_hot = np.eye(N_CLASSES, dtype=np.float32)[wrong[1]]
    found = result.model.evaluate(frames, one_hot, verbose=0, return_dict=True)["cross_entropy"]
    assert found == pytest.approx(min(losses), rel=1e-5)
    # Patience and the best weights survive an interruption.
    with pytest.raises(Exception, match="the power is cut"):
        run_fit(tmp_path / "broken", with_power_cut(make_clips(18), 14), wrong, **options)
    assert_same(run_fit(tmp_path / "broken", None, wrong, **options), result)


def test_a_loss_that_is_no_number_is_the_users_to_mend(tmp_path):
    for _ in range(2):  # nor does a second run go on from there
        with pytest.raises(
            UserError, match=r"finite loss. Received: (nan|inf) .* small.learning_r"
        ):
            run_fit(tmp_path, learning_rate=1e30, schedule="constant", epochs=1)


def test_training_ends_soon_after_the_loss_is_lost_not_with_the_epoch(tmp_path):
    clips = with_power_cut(make_clips(200), 40)  # of an epoch of 100 steps
    with pytest.raises(UserError, match=r"finite loss. Received: (nan|inf) in epoch 1"):
        run_fit(tmp_path, clips, learning_rate=1e30, schedule="constant", batch=2)


@pytest.mark.parametrize("name", ["loss", "val_cross_entropy"])
def test_the_figure_that_is_no_number_is_named(tmp_path, name):
    state = fit.TrainingState(tmp_path / "backup.npz", patience=1, epochs=1)
    state.set_model(build())
    names = ("loss", "cross_entropy", "accuracy", "val_cross_entropy", "val_accuracy")
    figures = dict.fromkeys(names, 0.5)
    told = "loss" if name == "loss" else "validation loss"
    with pytest.raises(UserError, match=rf"Expected a finite {told}\. Received: nan in epoch 1"):
        state.on_epoch_end(0, figures | {name: float("nan")})


def test_the_cosine_schedule(tmp_path):
    optimizer = run_fit(tmp_path, epochs=8, learning_rate=0.01).model.optimizer
    assert int(optimizer.iterations) == 40
    # 8 epochs of 5 steps: 2 to warm up, 38 down along half a cosine.
    for step, share in ((0, 0.0), (1, 0.5), (2, 1.0), (21, 0.5), (40, 0.0)):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(0.01 * share, abs=1e-7), step


def linear() -> keras.Model:
    """From four numbers to three classes, without anything random but the initial weights."""
    numbers = keras.Input((4,))
    return keras.Model(numbers, keras.layers.Dense(N_CLASSES, "softmax")(numbers), name="linear")


def make_numbers(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_CLASSES, n)
    numbers = rng.normal(0, 1, (n, 4)).astype(np.float32)
    numbers[np.arange(n), labels] += 1
    return numbers, labels


def initial(seed: int = 3, build=linear) -> list[np.ndarray]:
    """The weights that a training begins with."""
    keras.utils.set_random_seed(seed)
    return build().get_weights()


def probabilities(weights: list[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    kernel, bias = (w.astype(np.float64) for w in weights)
    powers = np.exp(numbers @ kernel + bias)
    return powers / powers.sum(axis=1, keepdims=True)


def costs(weights: list[np.ndarray], numbers, labels, smoothing: float = 0.0) -> np.ndarray:
    """Cross-entropy of each clip, by its definition."""
    wanted = np.eye(N_CLASSES)[labels] * (1 - smoothing) + smoothing / N_CLASSES
    return -(wanted * np.log(probabilities(weights, numbers))).sum(axis=1)


@pytest.mark.parametrize(
    ("n_clips", "batch", "epochs", "steps", "expected"),
    [(18, 4, 2, 0, 2), (18, 4, 2, 10, 2), (18, 4, 2, 11, 3), (18, 4, 1, 20, 4), (3, 64, 1, 3, 3)],
)
def test_a_training_has_so_many_epochs_and_at_least_so_many_steps(
    tmp_path, n_clips, batch, epochs, steps, expected
):
    options = {"batch": batch, "epochs": epochs, "steps": steps, "patience": None}
    result = run_fit(tmp_path, make_clips(n_clips), **options)
    assert len(result.history) == result.epochs_run == expected
    assert int(result.model.optimizer.iterations) == expected * -(-n_clips // batch)
    assert run_fit(tmp_path, make_clips(n_clips), **options).epochs_run == 0


def test_averaged_weights_are_what_is_validated_and_kept(tmp_path):
    train, validation = make_numbers(22), make_numbers(12, 1)
    options = {"learning_rate": 0.1, "schedule": "constant", "epochs": 12, "batch": 22}
    momentum = 0.4  # reached after 6 steps
    result = run_fit(tmp_path, train, validation, linear, average=momentum, **options)

    # The same training step by step, averaged by hand.
    keras.utils.set_random_seed(3)
    model = linear()
    model.compile(
        keras.optimizers.Adam(options["learning_rate"], clipnorm=1.0),
        "categorical_crossentropy",
        jit_compile=False,
    )
    labels = np.eye(N_CLASSES, dtype=np.float32)[train[1]]
    average, kept, losses, of_last_step = None, [], [], []
    for step in range(options["epochs"]):
        model.train_on_batch(train[0], labels)  # one step an epoch, in which order does not count
        now = model.get_weights()
        average = average or now
        m = min(momentum, step / (step + 9))  # so that the first weights are soon forgotten
        average = [m * a + (1 - m) * w for a, w in zip(average, now, strict=True)]
        kept.append(average)
        losses.append(costs(average, *validation).mean())
        of_last_step.append(costs(now, *validation).mean())
    found = [row["val_loss"] for row in result.history]
    np.testing.assert_allclose(found, losses, rtol=1e-4)
    assert np.abs(np.subtract(found, of_last_step)).max() > 1e-3, "averaging changes nothing"
    assert result.best_epoch == 1 + int(np.argmin(losses))
    for a, b in zip(result.model.get_weights(), kept[result.best_epoch - 1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    again = result.model.predict(validation[0], verbose=0)
    np.testing.assert_allclose(
        again, probabilities(kept[result.best_epoch - 1], validation[0]), atol=1e-5
    )


def test_averaging_leaves_the_training_itself_alone(tmp_path):
    """The weights that are stepped on are not the averaged ones: the training loss is the same."""
    options = {"learning_rate": 0.1, "epochs": 3, "schedule": "constant", "build": linear}
    data = make_numbers(22), make_numbers(12, 1)
    plain = run_fit(tmp_path / "plain", *data, **options).history
    averaged = run_fit(tmp_path / "averaged", *data, average=0.9, **options).history
    for a, b in zip(plain, averaged, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_an_average_of_few_steps_holds_none_of_the_random_start():
    """Of a start at 1 and steps to 0, less than 0.001 is left after ten steps."""
    weight = keras.Variable([1.0])
    optimizer = fit.AveragedAdam(use_ema=True, ema_momentum=0.98)
    optimizer.build([weight])
    for step in range(11):
        weight.assign([1.0 if step == 0 else 0.0])
        optimizer._update_model_variables_moving_average([weight])
        optimizer.iterations.assign_add(1)
    assert 0 < float(optimizer._model_variables_moving_average[0][0]) < 1e-3


def test_the_losses_of_the_history_are_plain_cross_entropies(tmp_path):
    train, validation = make_numbers(10), make_numbers(8, 1)
    options = {"batch": 16, "epochs": 1, "label_smoothing": 0.3, "balance": True}
    result = run_fit(tmp_path, train, validation, linear, **options)
    # One batch: the training loss is that of the initial weights.
    expected = costs(initial(), *train).mean()
    assert result.history[0]["loss"] == pytest.approx(expected, rel=1e-4)
    expected = costs(result.model.get_weights(), *validation).mean()
    assert result.history[0]["val_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("balance", [False, True])
def test_label_smoothing_and_balance_are_in_the_loss_that_is_minimised(
    tmp_path, smoothing, balance
):
    numbers, labels = make_numbers(20)[0], np.repeat([0, 1, 2], [14, 4, 2])
    weights = np.repeat(np.array([1 / 14, 1 / 4, 1 / 2]) * 20 / 3, [14, 4, 2]) if balance else 1
    options = {"batch": 32, "learning_rate": 0.05, "schedule": "constant"}
    recipe = {"label_smoothing": smoothing, "balance": balance, "epochs": 30, "patience": None}
    # Validated on the same clips: with or without a change of the loss, the last epoch may not
    # be the best. So the weights are compared where the loss that is minimised falls.
    data = numbers, labels
    found = run_fit(tmp_path, data, data, linear, **options, **recipe).model.get_weights()
    losses = [(weights * costs(w, numbers, labels, smoothing)).mean() for w in (initial(), found)]
    assert losses[1] < 0.8 * losses[0]
    # The same steps by hand, with the loss by its definition, reach the same weights.
    wanted = np.eye(N_CLASSES)[labels] * (1 - smoothing) + smoothing / N_CLASSES
    keras.utils.set_random_seed(3)
    model = linear()
    model.compile(
        keras.optimizers.Adam(0.05, clipnorm=1.0), "categorical_crossentropy", jit_compile=False
    )
    all_weights = []
    for _ in range(30):
        model.train_on_batch(numbers, wanted, sample_weight=np.broadcast_to(weights, 20))
        all_weights.append(model.get_weights())
    best = int(np.argmin([costs(w, numbers, labels).mean() for w in all_weights]))
    for a, b in zip(found, all_weights[best], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_balance_takes_the_shares_of_classes_out_of_the_gradient(tmp_path):
    # Clips that tell nothing: only how many there are of each class can be learned.
    labels = np.repeat([0, 1, 2], [18, 4, 2])
    nothing = np.zeros((24, 4), np.float32), labels
    validation = np.zeros((24, 4), np.float32), labels
    options = {
        "batch": 24,
        "epochs": 60,
        "patience": 60,
        "learning_rate": 0.1,
        "schedule": "constant",
        "build": linear,
    }
    losses = {}
    for balance in (False, True):
        result = run_fit(tmp_path / str(balance), nothing, validation, balance=balance, **options)
        losses[balance] = result.history[-1]["loss"]
    shares = np.array([18, 4, 2]) / 24
    # Unbalanced, the network learns the shares; balanced, that all classes are as likely.
    assert losses[False] == pytest.approx(-(shares * np.log(shares)).sum(), abs=0.01)
    assert losses[True] == pytest.approx(-(shares * np.log(1 / 3)).sum(), abs=0.01)


def with_normalisation() -> keras.Model:
    """A normalisation and a dense layer, whose classes are alike for a row of zeros."""
    numbers = keras.Input((4,))
    x = keras.layers.BatchNormalization(gamma_initializer="ones", beta_initializer="zeros")(numbers)
    x = keras.layers.Dense(N_CLASSES, "softmax", bias_initializer="ones")(x)
    return keras.Model(numbers, x, name="normalised")


def test_weight_decay_is_for_kernels_alone(tmp_path):
    # Zeros, and as many clips of each class: there is no gradient but rounding.
    nothing = np.zeros((6, 4), np.float32), np.arange(6) % N_CLASSES
    options = {"learning_rate": 0.5, "schedule": "constant", "batch": 6, "epochs": 1}
    before = initial(build=with_normalisation)
    for decay in (0.0, 0.8):
        folder = tmp_path / str(decay)
        result = run_fit(
            folder, nothing, nothing, with_normalisation, weight_decay=decay, **options
        )
        for weight, start in zip(result.model.weights, before, strict=True):
            found = np.asarray(weight)
            if weight.name == "kernel":
                np.testing.assert_allclose(found, start * (1 - 0.5 * decay), rtol=1e-5)
            elif weight.name in ("gamma", "bias"):  # 1 at the start
                np.testing.assert_allclose(found, start, atol=0.1)


def test_the_bar_ends_its_line_before_an_error_is_printed(tmp_path):
    options = {"learning_rate": 1e30, "schedule": "constant", "epochs": 1}
    with redirect_stderr(Terminal()) as said, pytest.raises(UserError) as caught:
        run_fit(tmp_path, **options)
    assert "Training small" in said.getvalue()
    assert said.getvalue().endswith("\n")
    assert caught.value


def test_fewer_clips_than_a_batch(tmp_path):
    options = {"schedule": "constant", "learning_rate": 0.01, "epochs": 1}
    result = run_fit(tmp_path, make_clips(3), make_clips(2), batch=64, **options)
    assert len(result.history) == 1
    assert float(result.model.optimizer.learning_rate) == pytest.approx(0.01)


def test_progress_is_shown_on_a_terminal_only(tmp_path, capsys):
    with redirect_stderr(Terminal()) as said:
        run_fit(tmp_path / "one", epochs=2)
    for words in ("Training small: 100%", "2/2", "epoch", "loss=", "val_accuracy="):
        assert words in said.getvalue()
    assert said.getvalue().endswith("\n")
    run_fit(tmp_path / "two", epochs=1)
    assert capsys.readouterr() == ("", "")


def test_history_csv(in_tmp_path):
    row = {"epoch": 1, "loss": 1 / 3, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 1.0}
    path = files.folder() / "history.csv"
    fit.write_history(path, [row, row | {"epoch": 2}])
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
from har.clips import store
from har.training import fit
from har.params import TrainParams

recipe = TrainParams(frames=8, draw="middle", epochs=1, steps=0, batch=16, patience=2,
    schedule="constant",
    weight_decay=0.0, average=0.0, label_smoothing=0.0, balance=True, centre=False, augment=None,
    precision="float32")

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
    fit.fit(build, train, validation, n_classes=2, learning_rate=0.01, recipe=recipe, seed=1,
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

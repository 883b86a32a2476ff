import time
import tracemalloc

import keras
import numpy as np
import pytest

from har.backbones import feature_store
from har.clips import store
from har.errors import UserError
from har.training import batches, device_rows
from har.training.batches import Batches, StoredFrames

SHAPE = (3, 8, 8)


@pytest.fixture(autouse=True)
def free_choice(monkeypatch):
    monkeypatch.delenv("HAR_FEED", raising=False)


def make_clips(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, *SHAPE, 3), np.uint8), rng.integers(0, 5, n)


@pytest.fixture
def frame_store(tmp_path):
    """A real file of 23 clips, their names in another order than the file's, and their pixels."""
    frames, _ = make_clips(23)
    names = [f"{'AB'[i % 2]}/{i:02}" for i in range(23)]
    path = tmp_path / "frames.h5"
    offsets = store.create(path, names, [name[0] for name in names], SHAPE)
    with path.open("r+b") as file:
        for offset, clip in zip(offsets, frames, strict=True):
            file.seek(offset)
            file.write(clip.tobytes())
    order = np.random.default_rng(1).permutation(23)
    with store.FrameStore(path) as opened:
        yield opened, [names[i] for i in order], frames[order], order % 2


def epochs(fed: Batches, n: int = 2) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    found = []
    for _ in range(n):
        found.append([tuple(map(np.asarray, fed[i])) for i in range(len(fed))])
        fed.on_epoch_end()
    return found


def places() -> list[str]:
    return ["memory", "file"] + ["device"] * (keras.backend.backend() == "jax")


@pytest.mark.parametrize("seed", [None, 3])
def test_the_batches_are_the_same_wherever_the_frames_are(frame_store, monkeypatch, seed):
    opened, names, frames, labels = frame_store
    rows = np.arange(23)
    expected = []
    for epoch in range(2):
        order = rows.copy()
        if seed is not None:
            np.random.default_rng([seed, epoch]).shuffle(order)
            order = np.concatenate([order, order[:2]])  # the last batch is full
        expected.append([order[i : i + 5] for i in range(0, 23, 5)])
    for place in places():
        monkeypatch.setenv("HAR_FEED", place)
        fed = Batches(*batches.load(opened, names), 5, seed)
        assert fed.place == place
        found = epochs(fed)
        for parts, chosen in zip(found, expected, strict=True):
            assert len(parts) == len(chosen) == 5
            for (x, y), part in zip(parts, chosen, strict=True):
                assert x.dtype == np.uint8
                np.testing.assert_array_equal(x, frames[part])
                np.testing.assert_array_equal(y, labels[part])


@pytest.mark.parametrize("place", places())
def test_weights_come_with_the_batches(monkeypatch, place):
    monkeypatch.setenv("HAR_FEED", place if place == "device" else "memory")
    frames, labels = make_clips(23)
    weights = np.arange(23, dtype=np.float32)
    fed = Batches(frames, labels, 5, 3, weights)
    [found] = epochs(fed, 1)
    for x, y, w in found:
        np.testing.assert_array_equal(y, labels[w.astype(int)])
        np.testing.assert_array_equal(x, frames[w.astype(int)])
    assert set(np.concatenate([w for *_, w in found])) == set(weights)


ROWS = pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 5, 5, 3), "uint8"),
        ((2, 2, 7, 4), "uint8"),
        ((0, 4), "uint8"),
        ((2, 7), "float16"),
    ],
)


@pytest.mark.parametrize("place", [place for place in places() if place != "file"])
@ROWS
def test_rows_of_any_length_and_type_come_back(monkeypatch, place, shape, dtype):
    monkeypatch.setenv("HAR_FEED", place)
    rows = np.random.default_rng(0).integers(0, 256, (23, *shape)).astype(dtype)
    [found] = epochs(Batches(rows, np.arange(23), 5, seed=3), 1)
    for x, y in found:
        assert x.dtype == dtype
        np.testing.assert_array_equal(x, rows[y])


@ROWS
def test_rows_of_any_length_and_type_are_taken_as_they_are(shape, dtype):
    jnp = pytest.importorskip("jax.numpy")
    rows = np.random.default_rng(0).integers(0, 256, (23, *shape)).astype(dtype)
    order = np.random.default_rng(1).permutation(23)
    there = (jnp.asarray(rows), jnp.arange(23))
    taken, numbers = device_rows.take(there, jnp.asarray(order), 4, 9)
    assert taken.dtype == dtype
    np.testing.assert_array_equal(taken, rows[order[4:13]])
    np.testing.assert_array_equal(numbers, order[4:13])


def test_batches_asked_for_again_or_out_of_order_are_the_same():
    frames, labels = make_clips(23)
    fed = Batches(frames, labels, 5, seed=1)
    once = [fed[i][0] for i in range(5)]
    for index in (3, 0, 0, 4, 2, 1, 4):
        np.testing.assert_array_equal(fed[index][0], once[index])


@pytest.mark.parametrize(("share", "expected"), [(2.5, "memory"), (1.5, "file")])
def test_frames_that_do_not_fit_in_half_of_the_free_memory_stay_in_the_file(
    frame_store, monkeypatch, share, expected
):
    opened, names, frames, labels = frame_store
    monkeypatch.setattr(batches, "available_memory", lambda: int(share * frames.nbytes))
    found, found_labels = batches.load(opened, names)
    np.testing.assert_array_equal(found_labels, labels)
    assert isinstance(found, StoredFrames) == (expected == "file")
    assert found.shape == frames.shape
    assert len(found) == len(frames)
    np.testing.assert_array_equal(found[np.arange(23)], frames)


@pytest.mark.parametrize(("share", "expected"), [(2.1, "memory"), (1.9, "file")])
def test_features_are_fed_as_frames_are(tmp_path, monkeypatch, share, expected):
    features = np.random.default_rng(0).random((7, 2, 4, 5)).astype(np.float32)
    clips = [store.Clip(f"A/{i}", "A", "g01", f"{i}", 9, 25.0, 64, 32) for i in range(7)]
    feature_store.write_features(tmp_path / "features.h5", clips, features, {"backbone": "b"})
    monkeypatch.setattr(batches, "available_memory", lambda: int(share * features.nbytes))
    with feature_store.FeatureStore(tmp_path / "features.h5") as opened:
        assert opened.sha256 == [clip.sha256 for clip in clips]
        np.testing.assert_array_equal(opened.row(3), features[3])
        found, labels = batches.load(opened, [clip.clip for clip in reversed(clips)])
        assert isinstance(found, StoredFrames) == (expected == "file")
        assert found.shape == features.shape
        for x, y in epochs(Batches(found, np.arange(7), 7), 1)[0]:
            np.testing.assert_array_equal(x, features[::-1][y])
    assert list(labels) == [0] * 7


def test_available_memory_is_that_of_the_machine_or_what_its_container_leaves(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(batches, "GROUP", tmp_path)
    total = batches.psutil.virtual_memory().total
    assert 0 < batches.available_memory() < total
    (tmp_path / "memory.current").write_text("7000\n")
    for limit, low, high in (("max", 8000, total), ("9500", 2500, 2500), ("5000", 0, 0)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert low <= batches.available_memory() <= high


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="frames stay on devices of JAX only")
@pytest.mark.parametrize(("free", "place"), [(0, "memory"), (1.9, "memory"), (2.1, "device")])
def test_frames_go_to_the_accelerator_if_they_fit_in_half_of_its_memory(monkeypatch, free, place):
    frames, labels = make_clips(10)
    free = int(free * frames.nbytes)
    monkeypatch.setattr(device_rows, "free_accelerator_memory", lambda: free)
    assert Batches(frames, labels, 4).place == place


def test_a_processor_is_no_accelerator():
    if keras.backend.backend() == "jax" and keras.distribution.list_devices()[0].startswith("gpu"):
        pytest.skip("this machine has a GPU")
    assert Batches(*make_clips(10), 4).place == "memory"


def test_a_place_that_is_none_is_refused(frame_store, monkeypatch):
    monkeypatch.setenv("HAR_FEED", "disk")
    with pytest.raises(UserError, match=r"device, memory, file.*Received: disk"):
        batches.load(*frame_store[:2])


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX keeps frames on its devices")
def test_frames_on_a_device_need_jax(monkeypatch):
    monkeypatch.setenv("HAR_FEED", "device")
    with pytest.raises(UserError, match=r"KERAS_BACKEND=jax.*Received: tensorflow"):
        Batches(*make_clips(3), 2)


def test_an_error_of_the_reader_is_the_users_to_see(frame_store, monkeypatch):
    opened, names, *_ = frame_store
    monkeypatch.setenv("HAR_FEED", "file")
    fed = Batches(*batches.load(opened, names), 5)
    opened.close()
    with pytest.raises(Exception, match="identifier"):
        fed[0]


class Watched(keras.callbacks.Callback):
    """Lets each step take a while; notes how long it is from the last one to the next epoch's."""

    def __init__(self, seconds=0.0, after_first_step=lambda: None):
        super().__init__()
        self.seconds, self.after_first_step = seconds, after_first_step
        self.waits = []

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0 and hasattr(self, "last"):
            self.waits.append(time.monotonic() - self.last)

    def on_train_batch_end(self, batch, logs=None):
        if batch == 0:
            self.after_first_step()
        time.sleep(self.seconds)
        self.last = time.monotonic()


def train_a_little(fed, epochs, watched):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    start = keras.callbacks.LambdaCallback(on_epoch_begin=lambda n, _: fed.start_epoch(n))
    model.fit(fed.for_keras(), epochs=epochs, verbose=0, shuffle=False, callbacks=[start, watched])


def test_the_next_batches_are_read_while_one_is_used(monkeypatch):
    class Counted(np.ndarray):
        def __getitem__(self, rows):
            read.append(len(rows))
            return np.asarray(super().__getitem__(rows))

    def others_are_read():
        deadline = time.monotonic() + 10
        while len(read) < 3:
            assert time.monotonic() < deadline, f"only {len(read)} batches were read"
            time.sleep(0.01)

    monkeypatch.setenv("HAR_FEED", "memory")
    read = []
    frames, labels = make_clips(32)
    fed = Batches(frames.view(Counted), labels, 4)
    watched = Watched(after_first_step=others_are_read)
    train_a_little(fed, 1, watched)
    if keras.backend.backend() == "tensorflow":
        assert read.pop(0) == 1  # a clip, for its shape and type
    assert set(read) == {4}
    assert 8 <= len(read) <= 8 + 3  # each once, besides those that Keras looks at


def test_an_epoch_begins_when_the_last_one_is_over(monkeypatch):
    monkeypatch.setenv("HAR_FEED", "memory")
    frames = np.broadcast_to(np.uint8(1), (160, 40, 64, 64, 3))
    watched = Watched(0.07)
    train_a_little(Batches(frames, np.zeros(160), 8), 9, watched)
    assert len(watched.waits) == 8
    assert max(watched.waits) < 0.6


def test_batches_never_copy_the_whole(monkeypatch):
    monkeypatch.setenv("HAR_FEED", "memory")
    frames = np.zeros((500, 4, 16, 16, 3), np.uint8)
    labels = np.zeros(500, np.int64)
    tracemalloc.start()
    fed = Batches(frames, labels, 10, seed=1)
    for i in range(len(fed)):
        assert fed[i][0].dtype == np.uint8
    fed.on_epoch_end()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * frames[:10].nbytes < frames.nbytes / 5


def orders(n_epochs: int, seed, start: int = 0) -> list[list[int]]:
    rows = np.arange(12)
    fed = Batches(rows.astype(np.uint8), rows, 5, seed)
    fed.start_epoch(start)
    found = []
    for _ in range(n_epochs):
        found.append(np.concatenate([fed[i][1] for i in range(len(fed))]).tolist())
        fed.on_epoch_end()
    return found


def test_each_epoch_has_its_own_order_and_every_run_the_same():
    four = orders(4, seed=7)
    assert len({tuple(order) for order in four}) == 4
    assert all(sorted(order[:12]) == list(range(12)) for order in four)  # then the last is full
    assert orders(4, seed=7) == four
    assert orders(4, seed=8) != four
    assert orders(2, seed=7, start=2) == four[2:]


@pytest.mark.parametrize(("n", "sizes"), [(4, [4]), (5, [5]), (6, [5, 5]), (10, [5, 5])])
def test_batches_of_training_are_full_where_there_are_clips_enough(n, sizes):
    fed = Batches(*make_clips(n), 5, seed=1)
    assert len(fed) == len(sizes)
    assert [len(fed[i][0]) for i in range(len(sizes))] == sizes
    seen = np.concatenate([fed[i][1] for i in range(len(sizes))])
    assert sorted(seen[:n]) == sorted(make_clips(n)[1])
    # A clip that comes twice comes again from the front of the epoch.
    np.testing.assert_array_equal(seen[n:], seen[: len(seen) - n])


def test_without_a_seed_the_order_is_kept():
    assert orders(2, seed=None) == [list(range(12))] * 2


def test_predict_keeps_the_order_and_sums_to_one():
    clips = keras.Input((2, 4, 4, 3), dtype="uint8")
    mean = keras.layers.GlobalAveragePooling3D()(keras.layers.Rescaling(1 / 255)(clips))
    model = keras.Model(clips, [keras.layers.Activation("softmax")(mean), mean])
    frames = np.zeros((7, 2, 4, 4, 3), np.uint8)
    frames[np.arange(7), ..., np.arange(7) % 3] = np.arange(1, 8)[:, None, None, None] * 30
    for batch in (1, 3, 7, 100):
        found, x = batches.predict(model, frames, batch)
        np.testing.assert_allclose(x, frames.mean((1, 2, 3)) / 255, 1e-5)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
        assert found.argmax(axis=1).tolist() == [i % 3 for i in range(7)]
        np.testing.assert_allclose(
            found, np.exp(m := frames.mean((1, 2, 3)) / 255) / np.exp(m).sum(1, keepdims=True), 1e-5
        )

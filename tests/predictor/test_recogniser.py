import json
from pathlib import Path

import numpy as np
import predictor_models as small
import pytest

from har.clips import video
from har.clips.video import even_indices
from har.errors import UserError
from har.models import convlstm, lrcn
from har.nn.preprocessing import WAYS_TO_DRAW
from har.params import load
from har.predictor.live import Stream
from har.predictor.recogniser import Recogniser, best_model
from har.predictor.streaming_model import FramePart, NoFramePartError

PARAMS = load(Path(__file__).resolve().parents[2] / "params.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        small.save(small.frame_by_frame(), path / "lrcn")
        small.save(small.frame_by_frame(motion=1), path / "motion")
        small.save(small.frame_by_frame(views=True), path / "views")
        small.save(small.frame_by_frame(motion=1, views=True), path / "motion-views")
        small.save(small.frame_by_frame(motion=2), path / "far-motion")
        small.save(small.whole_clips(), path / "convlstm")
    return path


@pytest.fixture(scope="module")
def clips():
    return np.random.default_rng(1).integers(0, 256, (37, *small.SHAPE, 3), np.uint8)


@pytest.mark.parametrize("name", ["lrcn", "convlstm", "motion-views"])
def test_batches_give_each_clip_its_own_answer(folder, clips, name):
    recogniser = Recogniser.open(folder / name)
    together = recogniser.probabilities(clips)
    alone = np.concatenate([recogniser.probabilities(clip[None]) for clip in clips])
    assert together.shape == (37, 3)
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together.sum(axis=1) - 1).max() < 1e-12
    assert together.std(axis=0).max() > 0.05


def test_the_card(folder):
    recogniser = Recogniser.open(folder / "lrcn")
    assert recogniser.name == "lrcn"
    assert recogniser.classes == small.CLASSES
    assert recogniser.shape == small.SHAPE
    assert recogniser.seconds == 2.0


def test_top(folder):
    recogniser = Recogniser.open(folder / "lrcn")
    assert recogniser.top(np.array([0.2, 0.5, 0.3]), 2) == [("Run", 0.5), ("Swim", 0.3)]
    assert len(recogniser.top(np.array([0.2, 0.5, 0.3]), 9)) == 3


# At 24 frames a second a window of 2 s has 48, and its 6 ticks have 8 each.
FPS, PER_TICK = 24, 8


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("lrcn", False),
        ("motion", False),
        ("views", False),
        ("motion-views", False),
        ("convlstm", True),
        ("far-motion", True),
    ],
)
def test_a_stream_answers_as_the_whole_network_on_the_same_frames(folder, name, whole):
    recogniser = Recogniser.open(folder / name)
    stream = Stream(recogniser, seconds=2.0)
    assert (stream.whole_windows is not None) == whole
    frames = np.random.default_rng(2).integers(0, 256, (121, *small.SHAPE[1:], 3), np.uint8)
    answers = []
    for i, frame in enumerate(frames):
        stream.push(i / FPS, frame)
        if i % PER_TICK or not i:
            continue
        first = max(i - 48, 0)
        length = min(i, 48)
        clip = frames[first + even_indices(length, length // PER_TICK)]
        picked = clip[even_indices(len(clip), small.SHAPE[0])]
        answers.append(stream.answer())
        assert np.abs(answers[-1] - recogniser.probabilities(picked[None])[0]).max() < 1e-5
    assert np.std(answers, axis=0).max() > 1e-3  # a hundred times what may differ
    assert len(stream.milliseconds) == len(answers) == 15


def test_a_full_window_is_sampled_as_a_clip(folder):
    # The last frames' ticks may only be known when the next frame comes.
    for fps, n in ((25, 50), (29.97, 60), (10, 20), (2, 4)):
        recogniser = Recogniser.open(folder / "convlstm")
        stream = Stream(recogniser, seconds=n / fps)
        frames = np.random.default_rng(n).integers(0, 256, (n + 1, *small.SHAPE[1:], 3), np.uint8)
        for i, frame in enumerate(frames):
            stream.push(100 + i / fps, frame)
        expected = recogniser.probabilities(frames[None, even_indices(n, small.SHAPE[0])])[0]
        assert np.abs(stream.answer() - expected).max() < 1e-5


def test_a_frame_goes_through_the_frame_part_once(folder, monkeypatch):
    for name in ("lrcn", "motion-views"):
        recogniser = Recogniser.open(folder / name)
        stream = Stream(recogniser, seconds=2.0)
        seen, whole = [], []
        features, probabilities = recogniser.frame_part.features, recogniser.probabilities
        monkeypatch.setattr(
            recogniser.frame_part, "features", lambda f, c=features, s=seen: s.append(0) or c(f)
        )
        monkeypatch.setattr(
            recogniser, "probabilities", lambda f, c=probabilities, s=whole: s.append(0) or c(f)
        )
        for i in range(200):
            stream.push(i / FPS, np.zeros((48, 72, 3), np.uint8))
            stream.answer()
        assert 22 <= len(seen) <= 25
        # Only until the first window is full.
        assert len(whole) <= small.SHAPE[0] + 1


def test_a_long_pause_is_the_last_picture(folder):
    recogniser = Recogniser.open(folder / "lrcn")
    stream = Stream(recogniser, seconds=2.0)
    old, new = np.random.default_rng(2).integers(0, 256, (2, *small.SHAPE[1:], 3), np.uint8)
    stream.push(0, old)
    stream.push(1e6, new)
    assert len(stream._frames) == small.SHAPE[0]
    expected = recogniser.probabilities(np.stack([old] * small.SHAPE[0])[None])[0]
    assert np.abs(stream.answer() - expected).max() < 1e-5


def test_why_there_is_no_frame_part(folder):
    assert "a frame or two at a time" in Recogniser.open(folder / "convlstm").whole_windows
    assert Recogniser.open(folder / "lrcn").whole_windows is None
    assert "by itself" in Recogniser.open(folder / "far-motion").whole_windows


@pytest.mark.parametrize("draw", WAYS_TO_DRAW)
@pytest.mark.parametrize("module", [lrcn, convlstm])
def test_frames_that_see_their_neighbours_are_no_frame_part(module, draw):
    train = PARAMS.train.model_copy(update={"frames": 3, "draw": draw})
    section = {"see": "motion", "width": 8, "units": 4, "dropout": 0.0, "learning_rate": 0.1}
    models = [
        module.build(3, (6, 16, 16), module.Params(shift=shift, **section), train, seed=1)
        for shift in (False, True)
    ]
    assert FramePart(models[0]).context == 2
    with pytest.raises(NoFramePartError, match=r"neighbour|by itself"):
        FramePart(models[1])


def test_a_stream_scales_frames_as_training_does(folder):
    recogniser = Recogniser.open(folder / "convlstm")
    stream = Stream(recogniser, seconds=1.0)
    large = small.moving(7, 4, 96, 144)
    for i, frame in enumerate(large):
        stream.push(i / 6, frame)
    scaled = np.stack([video.shrink(f, 16, 24) for f in large[:6]])
    expected = recogniser.probabilities(scaled[None])[0]
    assert np.abs(stream.answer() - expected).max() < 1e-6


def test_without_a_frame_there_is_no_answer(folder):
    with pytest.raises(ValueError, match="expects a frame first"):
        Stream(Recogniser.open(folder / "lrcn")).answer()


def figures(**accuracies):
    return {name: {"accuracy": a, "loss": loss} for name, (a, loss) in accuracies.items()}


@pytest.mark.parametrize(
    ("table", "best"),
    [
        (figures(convlstm=(0.5, 1.0), lrcn=(0.7, 2.0)), "lrcn"),
        (figures(convlstm=(0.7, 1.0), lrcn=(0.7, 2.0)), "convlstm"),
    ],
)
def test_the_best_model(folder, tmp_path, table, best):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(table))
    assert best_model(path, folder) == folder / best


def test_no_best_model(folder, tmp_path):
    path = tmp_path / "metrics.json"
    with pytest.raises(UserError, match="no such file"):
        best_model(path, folder)
    path.write_text("[]")
    with pytest.raises(UserError, match="another content"):
        best_model(path, folder)
    path.write_text(json.dumps(figures(transfer=(1.0, 0.0))))
    with pytest.raises(UserError, match=r"dvc pull"):
        best_model(path, folder)


def break_it(model, how):
    card = json.loads((model / "card.json").read_text())
    if how == "no card":
        (model / "card.json").unlink()
    elif how == "no model":
        (model / "model.keras").unlink()
    elif how == "not a model":
        (model / "model.keras").write_text("weights")
    elif how == "cut off":
        data = (model / "model.keras").read_bytes()
        (model / "model.keras").write_bytes(data[: len(data) // 2])
    elif how == "card of another shape":
        card["frames"]["count"] += 1
        (model / "card.json").write_text(json.dumps(card))
    elif how == "card of other classes":
        (model / "card.json").write_text(json.dumps(card | {"classes": ["Jump"]}))
    elif how == "card without frames":
        del card["frames"]
        (model / "card.json").write_text(json.dumps(card))
    elif how == "another version":
        import zipfile

        with zipfile.ZipFile(model / "model.keras") as old:
            parts = {name: old.read(name) for name in old.namelist()}
        parts["config.json"] = parts["config.json"].replace(b"UnfoldTime", b"RefoldTime")
        with zipfile.ZipFile(model / "model.keras", "w") as new:
            for name, data in parts.items():
                new.writestr(name, data)


@pytest.mark.parametrize(
    "how",
    [
        "no card",
        "no model",
        "not a model",
        "cut off",
        "card of another shape",
        "card of other classes",
        "card without frames",
        "another version",
    ],
)
def test_a_broken_model_folder_is_one_line(in_tmp_path, how):
    model = small.save(small.frame_by_frame(), in_tmp_path / "lrcn")
    Recogniser.open(model)
    break_it(model, how)
    with pytest.raises(UserError) as error:
        Recogniser.open(model)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("Expected a")
    assert "Received: " in str(error.value)

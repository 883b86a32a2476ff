import io
import json
import time
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from har.errors import UserError
from har.models import convlstm, convlstm_tutorial, lrcn, lrcn_tutorial
from har.nn import model_files
from har.params import load

# Two views of the four frames that are stored.
TRAIN = load(Path(__file__).resolve().parents[2] / "params.yaml").train
TRAIN = TRAIN.model_copy(update={"frames": 2})
NEW = {"see": "motion", "shift": True, "width": 2, "units": 4, "dropout": 0.2}
NEW |= {"learning_rate": 0.001}
OLD = {"filters": (2, 3), "dropout": 0.2, "learning_rate": 0.001}
APPROACHES = {
    "convlstm": (convlstm, NEW),
    "lrcn": (lrcn, NEW | {"see": "both"}),
    "convlstm_tutorial": (convlstm_tutorial, OLD | {"recurrent_dropout": 0.2}),
    "lrcn_tutorial": (lrcn_tutorial, OLD | {"pools": (2, 2), "units": 4}),
}


def build(approach: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    module, section = APPROACHES[approach]
    return module.build(3, (4, 16, 16), module.Params(**section), TRAIN, 1)


@pytest.mark.parametrize("approach", APPROACHES)
def test_the_same_model_gives_the_same_bytes(in_tmp_path, approach):
    paths = [Path("one/model.keras"), Path("two/model.keras")]
    models = []  # all are kept, so that no two have objects at one address
    for path in paths:
        keras.backend.clear_session()
        models.append(build(approach))
        if len(models) == 2:
            # Keras notes the time in whole seconds.
            time.sleep(max(0, paths[0].stat().st_mtime + 1.1 - time.time()))
        model_files.save_model(models[-1], path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with zipfile.ZipFile(paths[0]) as file:
        assert file.testzip() is None
    assert [path.name for path in Path("one").iterdir()] == ["model.keras"]
    assert not [path for path in Path(".work").rglob("*") if path.is_file()]


def test_training_leaves_no_trace_but_the_weights(in_tmp_path):
    compiled = build("lrcn")
    compiled.compile("adam", "sparse_categorical_crossentropy")
    compiled.optimizer.build(compiled.trainable_variables)  # else its step is traced twice
    compiled.fit(np.zeros((2, 4, 16, 16, 3), np.uint8), np.zeros(2), verbose=0)
    model_files.save_model(compiled, Path("compiled.keras"))
    loaded = model_files.load_model(Path("compiled.keras"))
    for a, b in zip(loaded.get_weights(), compiled.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with zipfile.ZipFile("compiled.keras") as file:
        assert not json.loads(file.read("config.json"))["compile_config"]
        with h5py.File(io.BytesIO(file.read("model.weights.h5"))) as weights:
            assert set(weights) <= {"layers", "vars"}  # and no "optimizer"


LOAD = """
import sys
import har
import numpy as np
for approach in sys.argv[1:]:
    model = har.load_model(f"{approach}.keras")
    found = model.predict_on_batch(np.load("clips.npy"))
    assert np.abs(found - np.load(f"{approach}.npy")).max() < 1e-6, approach
"""


def test_a_fresh_interpreter_loads_with_har_alone(in_tmp_path, run_python):
    clips = np.random.default_rng(0).integers(0, 256, (2, 4, 16, 16, 3), np.uint8)
    np.save("clips.npy", clips)
    for approach in APPROACHES:
        model = build(approach)
        model_files.save_model(model, Path(f"{approach}.keras"))
        expected = model.predict_on_batch(clips)
        np.save(f"{approach}.npy", expected)
        loaded = model_files.load_model(Path(f"{approach}.keras"))
        np.testing.assert_array_equal(loaded.predict_on_batch(clips), expected)
    process = run_python(LOAD, *APPROACHES, cwd=in_tmp_path)
    assert process.returncode == 0, process.stderr


def text(path):
    path.write_text("no model")


def empty(path):
    path.write_bytes(b"")


def other_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no model")


def broken_config(path):
    model_files.save_model(build("lrcn"), path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["config.json"] = b"{"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in parts.items():
            file.writestr(name, data)


def truncated(path):
    model_files.save_model(build("lrcn"), path)
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    "spoil", [None, text, empty, other_zip, broken_config, truncated, Path.mkdir]
)
def test_files_that_are_no_model(in_tmp_path, spoil):
    path = Path("model.keras")
    if spoil:
        spoil(path)
    with pytest.raises(UserError, match=r"Keras model at model.keras. Received: \S") as caught:
        model_files.load_model(path)
    assert "\n" not in str(caught.value)


def test_code_in_a_model_is_not_run(in_tmp_path):
    clips = keras.Input((2,))
    evil = keras.Model(clips, keras.layers.Lambda(lambda x: x + 1)(clips))
    evil.save("model.keras")
    with pytest.raises(UserError, match="Received: "):
        model_files.load_model(Path("model.keras"))


def test_what_needs_no_keras_does_not_import_it(run_python):
    code = """
import importlib.util, sys
import har
for stage in ("fetch", "extract", "split"):
    spec = importlib.util.spec_from_file_location(stage, f"stages/{stage}.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
import har.cli, har.datasets.folder, har.datasets.sample
heavy = {"keras", "tensorflow", "jax", "torch", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    process = run_python(code)
    assert process.returncode == 0, process.stderr

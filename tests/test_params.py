import copy
import re
from pathlib import Path

import pydantic
import pytest
import yaml

from har import params
from har.errors import UserError

COMMITTED = Path(__file__).resolve().parents[1] / "params.yaml"


@pytest.fixture
def raw() -> dict:
    return yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))


def place(raw: dict, key: str, value) -> None:
    *sections, last = key.split(".")
    for section in sections:
        raw = raw[section]
    if value is DELETE:
        del raw[last]
    else:
        raw[last] = value


DELETE = object()


def load(folder: Path, raw) -> params.Params:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return params.load(path)


def test_the_committed_file_loads_from_the_working_directory(monkeypatch, raw):
    monkeypatch.chdir(COMMITTED.parent)
    loaded = params.load()
    assert loaded.model_dump(mode="json") == raw


def test_loaded_params_cannot_be_changed(tmp_path, raw):
    loaded = load(tmp_path, raw)
    for section, name in ((loaded, "seed"), (loaded.frames, "count"), (loaded.train, "augment")):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(section, name, getattr(section, name))
    for value in (loaded.convlstm.filters, loaded.lrcn.pools, loaded.dataset.classes):
        assert isinstance(value, tuple)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 0),
        ("seed", 2**32 - 1),
        ("frames.count", 1),
        ("frames.height", 48),
        ("split.folds", 25),
        ("split.protocol", "random"),
        ("dataset.classes", ["Walk", "Run"]),
        ("lrcn.learning_rate", 1),
        ("lrcn.dropout", 0),
        ("convlstm.filters", [3]),
        ("train.schedule", "constant"),
        ("train.augment.flip", False),
    ],
)
def test_values_that_are_fine(tmp_path, raw, key, value):
    place(raw, key, value)
    assert load(tmp_path, raw)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        # Values that cannot be.
        ("seed", -1),
        ("seed", 2**32),
        ("frames.count", 0),
        ("frames.count", -20),
        ("frames.height", 0),
        ("frames.width", 2),
        ("split.folds", 0),
        ("split.folds", 2),
        ("split.fold", -1),
        ("split.protocol", "grouped"),
        ("dataset.name", "ucf55"),
        ("train.epochs", 0),
        ("train.batch", 0),
        ("train.patience", 0),
        ("train.schedule", "linear"),
        ("train.precision", "float64"),
        ("train.augment.zoom", 1.0),
        ("train.augment.shift", -0.1),
        ("convlstm.filters", []),
        ("convlstm.filters", [4, 0]),
        ("convlstm.dropout", 1.0),
        ("convlstm.recurrent_dropout", -0.5),
        ("convlstm.learning_rate", 0.0),
        ("convlstm.learning_rate", float("inf")),
        ("convlstm.learning_rate", float("nan")),
        ("lrcn.units", 0),
        ("evaluate.bootstrap", 0),
        ("evaluate.mistakes", 0),
        # Wrong types.
        ("seed", "27"),
        ("seed", 1.5),
        ("frames.count", "20"),
        ("frames.count", 20.0),
        ("frames.count", True),
        ("frames.count", None),
        ("frames.count", [20]),
        ("frames", 20),
        ("frames", None),
        ("frames", [20, 64, 64]),
        ("dataset.classes", "Walk"),
        ("dataset.classes", [1, 2]),
        ("dataset.path", 7),
        ("train.augment", True),
        ("train.augment.flip", 1),
        ("train.augment.flip", "yes"),
        ("lrcn.learning_rate", "0.001"),
        ("lrcn.dropout", "a quarter"),
        ("lrcn.filters", 16),
        ("lrcn.filters", [16, "32", 64, 64]),
    ],
)
def test_values_that_are_refused(tmp_path, raw, key, value):
    place(raw, key, value)
    with pytest.raises(UserError, match=rf"{re.escape(key)}\b.*: expected .+ Received: ") as caught:
        load(tmp_path, raw)
    message = str(caught.value)
    assert "params.yaml" in message
    if not isinstance(value, list | dict | float):
        assert f"Received: {value!r}. " in message


@pytest.mark.parametrize(("fold", "folds"), [(5, 5), (3, 3), (100, 25)])
def test_a_fold_that_does_not_exist(tmp_path, raw, fold, folds):
    raw["split"] |= {"fold": fold, "folds": folds}
    with pytest.raises(UserError, match=rf"split.*fold .*{folds - 1}.* Received: .*{fold}"):
        load(tmp_path, raw)


def test_a_pool_for_each_block(tmp_path, raw):
    raw["lrcn"]["pools"] = [4, 4, 2]
    with pytest.raises(UserError, match=r"lrcn\.pools: .* 4 .*Received: \[4, 4, 2\]"):
        load(tmp_path, raw)


@pytest.mark.parametrize(
    ("key", "value"), [("split.fold", 5), ("split.fold", 99), ("lrcn.pools", [4, 4, 2])]
)
def test_a_rule_about_two_keys_names_the_wrong_one(tmp_path, raw, key, value):
    place(raw, key, value)
    with pytest.raises(UserError, match=rf"{re.escape(key)}: expected .+ Received: ") as caught:
        load(tmp_path, raw)
    assert f"Received: {value}. " in str(caught.value)


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("frames.cuont", "count"),
        ("frames.heigth", "height"),
        ("split.protocoll", "protocol"),
        ("split.foldss", "folds"),
        ("train.epoch", "epochs"),
        ("train.augment.flipp", "flip"),
        ("lrcn.learningrate", "learning_rate"),
        ("frame", "frames"),
        ("convlsmt", "convlstm"),
        ("dataest", "dataset"),
    ],
)
def test_misspelt_keys_and_sections(tmp_path, raw, key, suggestion):
    right = ".".join([*key.split(".")[:-1], suggestion])
    both = copy.deepcopy(raw)
    for wrong in (both, raw):
        place(wrong, key, 1)
    place(raw, right, DELETE)
    for wrong in (both, raw):
        with pytest.raises(UserError, match=f"Received: the unknown key {key}") as caught:
            load(tmp_path, wrong)
        assert f"Did you mean {suggestion}?" in str(caught.value)


def test_an_unknown_key_without_a_likely_meaning_lists_the_valid_ones(tmp_path, raw):
    place(raw, "split.xyz", 1)
    with pytest.raises(UserError, match=r"expected one of protocol, folds, fold. Received: .*xyz"):
        load(tmp_path, raw)


@pytest.mark.parametrize(
    "key",
    ["seed", "frames", "frames.count", "split.fold", "train.augment.flip", "evaluate.bootstrap"],
)
def test_missing_keys(tmp_path, raw, key):
    place(raw, key, DELETE)
    with pytest.raises(UserError, match=f"expected the key {key}. Received: nothing"):
        load(tmp_path, raw)


def test_all_mistakes_are_told_at_once(tmp_path, raw):
    place(raw, "frames.count", 0)
    place(raw, "split.folsd", 3)
    place(raw, "seed", DELETE)
    with pytest.raises(UserError) as caught:
        load(tmp_path, raw)
    for key in ("frames.count", "split.folsd", "seed"):
        assert key in str(caught.value)
    assert str(caught.value).count("Received: ") == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [1, 2", "valid YAML"),
        ("seed: 1\n\tframes: 2\n", "valid YAML"),
        ("a: b: c", "valid YAML"),
        ("", "Expected sections .* Received: NoneType"),
        ("# all gone\n", "Expected sections .* Received: NoneType"),
        ("- seed\n- frames\n", "Expected sections .* Received: list"),
        ("just words", "Expected sections .* Received: str"),
        ("27", "Expected sections .* Received: int"),
        ("1: 2\nseed: 27\n", "Received: "),
    ],
)
def test_files_that_hold_no_params(tmp_path, text, message):
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        params.load(tmp_path / "params.yaml")
    assert "Received: " in str(caught.value)


def test_a_file_in_another_encoding(tmp_path):
    (tmp_path / "params.yaml").write_bytes("seed: 27 # Größe\n".encode("latin-1"))
    with pytest.raises(UserError, match="Received: "):
        params.load(tmp_path / "params.yaml")


def test_no_file(in_tmp_path):
    with pytest.raises(UserError, match=r"Expected params.yaml .* Received: no such file"):
        params.load()

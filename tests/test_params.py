import copy
import re
from pathlib import Path

import pydantic
import pytest
from ruamel.yaml import YAML

from har import params
from har.errors import UserError

COMMITTED = Path(__file__).resolve().parents[1] / "params.yaml"


@pytest.fixture
def raw() -> dict:
    return YAML(typ="safe", pure=True).load(COMMITTED.read_text(encoding="utf-8"))


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
    YAML(typ="safe").dump(raw, path)
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
    tutorial, recipe = loaded.approach("lrcn_tutorial"), loaded.recipe("lrcn")
    for section, name in ((tutorial, "units"), (recipe, "epochs"), (recipe.augment, "zoom")):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(section, name, getattr(section, name))
    for value in (tutorial.filters, tutorial.pools, loaded.dataset.classes):
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
        ("train.schedule", "constant"),
        ("train.frames", 40),
        ("train.frames", 2),
        ("train.draw", "window"),
        ("train.patience", None),
        ("train.patience", 3),
        ("train.steps", 0),
        ("train.weight_decay", 0),
        ("train.average", 0),
        ("train.label_smoothing", 0),
        ("train.augment", None),
        ("train.augment.flip", False),
        ("train.augment.shuffle", 1),
        ("train.augment.grey", 1.0),
    ],
)
def test_values_that_are_fine(tmp_path, raw, key, value):
    place(raw, key, value)
    loaded = load(tmp_path, raw)
    for name in ("convlstm", "lrcn", "convlstm_tutorial", "lrcn_tutorial"):
        assert loaded.recipe(name) if key != "frames.count" else loaded.approach(name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lrcn.learning_rate", 1),
        ("lrcn.dropout", 0),
        ("lrcn.see", "pixels"),
        ("convlstm.see", "both"),
        ("convlstm.train", {}),
        ("convlstm_tutorial.filters", [3]),
        ("lrcn_tutorial.train.augment", {"flip": False}),
    ],
)
def test_values_of_approaches_that_are_fine(tmp_path, raw, key, value):
    place(raw, key, value)
    name, first, *rest = key.split(".")
    loaded = load(tmp_path, raw)
    found = getattr(loaded.approach(name), first)
    if rest:
        assert loaded.recipe(name).augment.flip is False
    else:
        assert found == (tuple(value) if isinstance(value, list) else value)
    assert loaded.recipe(name)


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
        ("train.steps", -1),
        ("train.schedule", "linear"),
        ("train.precision", "float64"),
        ("train.augment.zoom", 1.0),
        ("train.augment.shift", -0.1),
        ("train.augment.saturation", 1.0),
        ("train.augment.tint", -0.1),
        ("train.augment.shuffle", 1.01),
        ("train.augment.grey", -0.01),
        ("train.frames", 0),
        ("train.weight_decay", -0.1),
        ("train.weight_decay", 1.0),
        ("train.average", 1.0),
        ("train.average", -0.5),
        ("train.label_smoothing", 1.0),
        ("evaluate.bootstrap", 0),
        ("evaluate.mistakes", 0),
        # Absurd sizes.
        ("frames.count", 10**9),
        ("frames.height", 10**6),
        ("train.batch", 10**6),
        ("evaluate.bootstrap", 10**9),
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
        ("train.draw", "jitter"),
        ("train.balance", "yes"),
        ("train.frames", 20.0),
        ("train.average", None),
    ],
)
def test_values_that_are_refused(tmp_path, raw, key, value):
    place(raw, key, value)
    with pytest.raises(UserError, match=rf"{re.escape(key)}\b.*: expected .+ Received: ") as caught:
        load(tmp_path, raw)
    assert_tells(caught.value, value)


def assert_tells(error: UserError, value) -> None:
    message = str(error)
    assert "params.yaml" in message
    if not isinstance(value, list | dict | float):
        assert f"Received: {value!r}. " in message


@pytest.mark.parametrize(("fold", "folds"), [(5, 5), (3, 3), (100, 25)])
def test_a_fold_that_does_not_exist(tmp_path, raw, fold, folds):
    raw["split"] |= {"fold": fold, "folds": folds}
    with pytest.raises(UserError, match=rf"split.*fold .*{folds - 1}.* Received: .*{fold}"):
        load(tmp_path, raw)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("convlstm.see", "sound"),
        ("convlstm.width", 0),
        ("convlstm.units", 10**5),
        ("convlstm.dropout", 1.0),
        ("convlstm.learning_rate", 0.0),
        ("convlstm.learning_rate", float("inf")),
        ("convlstm.learning_rate", float("nan")),
        ("convlstm.train", None),
        ("convlstm.train", [1]),
        ("lrcn.units", 0),
        ("lrcn.learning_rate", "0.001"),
        ("lrcn.dropout", "a quarter"),
        ("convlstm_tutorial.filters", []),
        ("convlstm_tutorial.filters", [4, 0]),
        ("convlstm_tutorial.recurrent_dropout", -0.5),
        ("lrcn_tutorial.filters", 16),
        ("lrcn_tutorial.filters", [16, "32", 64, 64]),
        ("lrcn_tutorial.train.epochs", 0),
        ("lrcn_tutorial.train.schedule", "linear"),
        ("lrcn_tutorial.train.augment", {"zoom": 2.0}),
    ],
)
def test_values_of_approaches_that_are_refused_when_they_are_asked_for(tmp_path, raw, key, value):
    place(raw, key, value)
    loaded = load(tmp_path, raw)  # whoever trains another approach is not stopped by it
    assert loaded.recipe("cnn3d")
    with pytest.raises(UserError, match=rf"{re.escape(key)}\b.*: expected .+ Received: ") as caught:
        loaded.recipe(key.split(".")[0])
    assert_tells(caught.value, value)


def test_a_pool_for_each_block(tmp_path, raw):
    raw["lrcn_tutorial"]["pools"] = [4, 4, 2]
    loaded = load(tmp_path, raw)
    with pytest.raises(UserError, match=r"lrcn_tutorial\.pools: .* 4 .*Received: \[4, 4, 2\]\. "):
        loaded.approach("lrcn_tutorial")


@pytest.mark.parametrize(("key", "value"), [("split.fold", 5), ("split.fold", 99)])
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
        ("train.averag", "average"),
        ("train.augment.satuartion", "saturation"),
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


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("lrcn.learningrate", "learning_rate"),
        ("lrcn.widht", "width"),
        ("convlstm.se", "see"),
        ("lrcn_tutorial.pool", "pools"),
        ("lrcn_tutorial.train.epoch", "epochs"),
    ],
)
def test_misspelt_keys_of_an_approach(tmp_path, raw, key, suggestion):
    place(raw, key, 1)
    with pytest.raises(UserError, match=f"Received: the unknown key {key}") as caught:
        load(tmp_path, raw).recipe(key.split(".")[0])
    assert f"Did you mean {suggestion}?" in str(caught.value)


def test_a_misspelt_change_an_approach_recipe_makes_to_augmentation(tmp_path, raw):
    raw["lrcn"]["train"] = {"augment": {"zooom": 0.1}}
    with pytest.raises(UserError, match=r"unknown key lrcn\.train\.augment\.zooom") as caught:
        load(tmp_path, raw).recipe("lrcn")
    assert "Did you mean zoom?" in str(caught.value)


@pytest.mark.parametrize("name", ["lrnc", "convlstm-tutorial", "lrcn_tutorials", "train", ""])
def test_unknown_approaches_are_named(tmp_path, raw, name):
    with pytest.raises(UserError, match=f"Received: {name or 'nothing'}") as caught:
        load(tmp_path, raw).recipe(name)
    for known in ("convlstm", "convlstm_tutorial", "lrcn", "lrcn_tutorial"):
        assert known in str(caught.value)


def test_an_approach_without_a_section(tmp_path, raw):
    del raw["lrcn"]
    with pytest.raises(UserError, match=r"the section lrcn in params.yaml. Received: nothing"):
        load(tmp_path, raw).approach("lrcn")


def test_the_shared_recipe_holds_for_an_approach_without_its_own(tmp_path, raw):
    raw["dataset"]["name"] = "folder"
    loaded = load(tmp_path, raw)
    assert loaded.recipe("lrcn") == loaded.recipe("convlstm") == loaded.train


def test_an_approach_own_recipe_goes_first_and_the_rest_is_shared(tmp_path, raw):
    raw["dataset"]["name"] = "folder"
    raw["lrcn"]["train"] = {"epochs": 3, "augment": {"zoom": 0.5, "flip": False}}
    loaded = load(tmp_path, raw)
    shared = loaded.train.model_dump()
    augment = shared["augment"] | {"zoom": 0.5, "flip": False}
    assert loaded.recipe("lrcn").model_dump() == shared | {"epochs": 3, "augment": augment}
    assert loaded.recipe("convlstm").model_dump() == shared


def test_an_approach_can_go_without_augmentation_and_with_it_all_by_itself(tmp_path, raw):
    augment = dict(raw["train"]["augment"])
    raw["lrcn"]["train"] = {"augment": None}
    loaded = load(tmp_path, raw)
    assert loaded.recipe("lrcn").augment is None
    assert loaded.recipe("convlstm").augment == loaded.train.augment

    raw["train"]["augment"] = None
    raw["lrcn"]["train"] = {"augment": augment}
    loaded = load(tmp_path, raw)
    assert loaded.recipe("lrcn").augment.model_dump() == augment
    assert loaded.recipe("convlstm").augment is None

    del augment["zoom"]  # there is nothing it could be taken from
    with pytest.raises(UserError, match=r"expected the key lrcn\.train\.augment\.zoom\. Received"):
        load(tmp_path, raw).recipe("lrcn")


TUTORIAL = {
    "draw": "middle",
    "batch": 4,
    "schedule": "constant",
    "weight_decay": 0.0,
    "average": 0.0,
    "label_smoothing": 0.0,
    "balance": False,
    "centre": False,
    "augment": None,
}


@pytest.mark.parametrize(
    ("name", "epochs", "patience"), [("convlstm_tutorial", 50, 10), ("lrcn_tutorial", 70, 15)]
)
def test_the_recipe_of_the_tutorial_has_none_of_ours(raw, name, epochs, patience):
    recipe = params.load(COMMITTED).recipe(name).model_dump()
    expected = TUTORIAL | {"epochs": epochs, "patience": patience}
    assert {key: recipe[key] for key in expected} == expected


def test_the_sample_has_values_of_its_own(tmp_path, raw):
    raw["sample"] = {"train": {"epochs": 3}, "lrcn": {"units": 7}}
    raw["convlstm"]["train"] = {"epochs": 5}
    sample = load(tmp_path, raw)
    raw["dataset"]["name"] = "folder"
    folder = load(tmp_path, raw)
    assert folder.recipe("lrcn") == folder.train
    assert sample.recipe("lrcn").model_dump() == folder.train.model_dump() | {"epochs": 3}
    assert sample.recipe("convlstm").epochs == folder.recipe("convlstm").epochs == 5
    assert sample.approach("lrcn").units == 7 != folder.approach("lrcn").units


@pytest.mark.parametrize("section", ["frames", "lrnc", "dataset"])
def test_the_sample_replaces_values_of_training_alone(tmp_path, raw, section):
    raw["sample"][section] = {}
    with pytest.raises(UserError, match=rf"sample: expected train or approaches .* not {section}"):
        load(tmp_path, raw)


@pytest.mark.parametrize("text", ["5e-05", "5e-5", "1e-4", "0.00005", "5.0e-05"])
def test_numbers_as_dvc_writes_them(tmp_path, text):
    """DVC writes YAML 1.2, in which a number with an exponent needs no point."""
    committed = COMMITTED.read_text(encoding="utf-8")
    changed = committed.replace("learning_rate: 0.002", f"learning_rate: {text}")
    (tmp_path / "params.yaml").write_text(changed, encoding="utf-8")
    assert params.load(tmp_path / "params.yaml").approach("lrcn").learning_rate == float(text)


def test_no_section_is_an_alias_of_another():
    """`dvc exp run -S` of an aliased value changes every section that shares it."""
    text = COMMITTED.read_text(encoding="utf-8")
    assert not re.search(r"[:-] [&*]\w|<<:", text)


@pytest.mark.parametrize(("stored", "seen"), [(40, 3), (40, 80), (20, 40), (7, 2), (1, 20)])
def test_frames_that_a_network_sees_divide_the_stored_ones(tmp_path, raw, stored, seen):
    raw["frames"]["count"], raw["train"]["frames"] = stored, seen
    loaded = load(tmp_path, raw)
    with pytest.raises(
        UserError,
        match=rf"train\.frames: expected {stored} \(frames\.count\).* Received: {seen}\. ",
    ):
        loaded.recipe("lrcn")
    # Features have frames of their own.
    assert loaded.recipe("i3d").frames == seen


@pytest.mark.parametrize(("stored", "seen"), [(40, 2), (40, 20), (40, 40), (2, 2), (9, 3)])
def test_stored_frames_are_a_multiple_of_the_seen_ones(tmp_path, raw, stored, seen):
    raw["frames"]["count"], raw["train"]["frames"] = stored, seen
    assert load(tmp_path, raw).recipe("lrcn").frames == seen


@pytest.mark.parametrize("see", ["motion", "both"])
def test_motion_needs_two_frames(tmp_path, raw, see):
    raw["lrcn"] |= {"see": see, "train": {"frames": 1}}
    loaded = load(tmp_path, raw)
    with pytest.raises(
        UserError, match=rf"train\.frames: .*at least 2.*lrcn\.see is {see}.*: 1\. "
    ):
        loaded.recipe("lrcn")
    raw["lrcn"]["see"] = "pixels"
    assert load(tmp_path, raw).recipe("lrcn").frames == 1


def test_an_unknown_key_without_a_likely_meaning_lists_the_valid_ones(tmp_path, raw):
    place(raw, "split.xyz", 1)
    with pytest.raises(
        UserError, match=r"expected one of protocol, folds, fold, merge_.*. Received: .*xyz"
    ):
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
        ("seed: [1, 2", "no valid YAML"),
        ("seed: 1\n\tframes: 2\n", "no valid YAML"),
        ("a: b: c", "no valid YAML"),
        ("seed: 1\nseed: 2\n", "no valid YAML"),
        ("path: 2024-31-12", "no valid YAML"),
        ('seed: !!int "x"', "no valid YAML"),
        ("[" * 2000, "no valid YAML"),
        ("seed: !!python/object:os.system x", "no valid YAML"),
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
    assert "\n" not in str(caught.value) or "Received: " in str(caught.value)


def test_a_file_in_another_encoding(tmp_path):
    (tmp_path / "params.yaml").write_bytes("seed: 27 # Größe\n".encode("latin-1"))
    with pytest.raises(UserError, match="no valid YAML in UTF-8"):
        params.load(tmp_path / "params.yaml")


def test_no_file(in_tmp_path):
    with pytest.raises(UserError, match=r"params.yaml does not exist in .*\. Run this in"):
        params.load()

"""A trial: trained once, tested once, the same bytes wherever it comes from."""

import json
import shutil
from pathlib import Path

import pytest

from har.comparison import trials
from har.errors import UserError
from har.params import Trial, load
from har.training import run as training

FILES = {"model.keras", "history.csv", "familiarity.npz", "card.json", *trials.TABLES}


@pytest.fixture(scope="module")
def trained(new_project):
    """A project whose LRCN was trained by its stage, in a process of its own."""
    project = new_project()
    for stage in ("fetch", "extract", "split", "train"):
        project.python(f"stages/{stage}.py", *["lrcn"] * (stage == "train"))
    return project


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """Run a trial in this process in a copy of the project: `run(fold)`."""
    monkeypatch.chdir(trained.copy(tmp_path / "project").path)
    params = load()

    def run(fold=0, **more) -> dict[str, bytes]:
        output = Path("trials") / str(fold)
        card = trials.run(Trial("lrcn", "group", fold, params.seed), params, output, **more)
        assert json.loads((output / "card.json").read_text()) == card
        return {path.name: path.read_bytes() for path in output.iterdir()}

    return run


def forbid(monkeypatch, *names: str) -> None:
    def fail(*_, **__):
        raise AssertionError(f"one of {names} was called")

    for name in names:
        monkeypatch.setattr(training if name == "train" else trials, name, fail)


def test_a_trial_has_the_bytes_of_the_stage_and_is_made_once(run, monkeypatch):
    run(1)  # names of layers and random numbers of an earlier trial leave no trace
    made = run(0)
    assert set(made) == FILES
    assert made["model.keras"] == Path("models/lrcn/model.keras").read_bytes()
    forbid(monkeypatch, "train", "test")
    assert run(0) == made


def test_the_training_of_the_main_pipeline_is_taken(run, monkeypatch):
    made = run(0)
    shutil.rmtree("trials")
    forbid(monkeypatch, "train")
    assert run(0, finished=Path("models/lrcn")) == made
    with pytest.raises(AssertionError, match="was called"):  # another fold is another training
        run(1, finished=Path("models/lrcn"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("card.json", "damaged"),
        ("familiarity.npz", "gone"),
        ("model.keras", "damaged"),
        ("predictions.csv", "gone"),
        ("unknown.csv", "damaged"),
    ],
)
def test_what_is_lost_or_damaged_is_made_again(run, name, change):
    made = run(0, finished=Path("models/lrcn"))
    file = Path("trials/0", name)
    if change == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9] + b"x")
    assert run(0, finished=Path("models/lrcn")) == made


def test_a_damaged_model_is_not_taken(run, monkeypatch):
    with Path("models/lrcn/model.keras").open("r+b") as file:
        file.seek(200)
        file.write(b"xx")
    forbid(monkeypatch, "train")
    with pytest.raises(AssertionError, match="was called"):
        run(0, finished=Path("models/lrcn"))


def test_a_kill_between_training_and_test_costs_the_test(run, monkeypatch):
    made = run(0)
    for name in ("predictions.csv", "shortcuts.csv"):
        Path("trials/0", name).unlink()
    forbid(monkeypatch, "train")
    assert run(0) == made


def test_shortcuts_can_be_left_out(run):
    made = run(0, finished=Path("models/lrcn"))
    fewer = run(0, with_shortcuts=False)
    assert set(fewer) == FILES - {"shortcuts.csv"}
    assert fewer["predictions.csv"] == made["predictions.csv"]


def test_other_data_are_another_training(run, monkeypatch):
    run(0, finished=Path("models/lrcn"))
    split = Path("data/split.csv")
    split.write_text(split.read_text() + "\n")
    forbid(monkeypatch, "train")
    with pytest.raises((AssertionError, UserError)):
        run(0)

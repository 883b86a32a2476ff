"""What is tested on cannot reach training: neither its labels nor its pixels."""

import csv
import io
import runpy
import sys
from contextlib import redirect_stdout

import h5py
import keras
import numpy as np
import pytest


def rows_of(project, *folds: int) -> np.ndarray:
    """Return the rows in frames.h5 of the clips in group folds."""
    with (project.path / "data/split.csv").open() as file:
        chosen = {row["clip"] for row in csv.DictReader(file) if int(row["group_fold"]) in folds}
    with h5py.File(project.path / "data/frames.h5") as file:
        rows = [i for i, name in enumerate(file["clip"][:]) if name.decode() in chosen]
    assert rows
    return np.array(rows)


def change_labels(project, rows: np.ndarray) -> None:
    """Turn the label of each row into that of the other class."""
    with h5py.File(project.path / "data/frames.h5", "r+") as file:
        labels = file["label"][:]
        labels[rows] = 1 - labels[rows]
        file["label"][:] = labels


def spoil_pixels(project, rows: np.ndarray) -> None:
    with h5py.File(project.path / "data/frames.h5", "r+") as file:
        for row in rows:
            file["frames"][row] = 255 - file["frames"][row]


@pytest.fixture(scope="module")
def split_project(new_project):
    """A project before its training; it tests on fold 0 and validates on fold 1."""
    project = new_project()
    for stage in ("fetch", "extract", "split"):
        project.python(f"stages/{stage}.py")
    return project


@pytest.fixture
def train(monkeypatch):
    """Run the stage in this process, where Keras has loaded: `train(project, approach)`."""

    def run(project, approach: str) -> bytes:
        monkeypatch.chdir(project.path)
        monkeypatch.setattr(sys, "argv", ["stages/train.py", approach])
        keras.backend.clear_session()  # names count from 1, as in a process of its own
        with redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as left:
            runpy.run_path("stages/train.py", run_name="__main__")
        assert not left.value.code
        return (project.path / "models" / approach / "model.keras").read_bytes()

    yield run
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("approach", [pytest.param("convlstm", marks=pytest.mark.slow), "lrcn"])
def test_labels_and_pixels_of_test_clips_leave_every_byte_of_the_weights_alone(
    split_project, train, tmp_path, approach
):
    project = split_project.copy(tmp_path / "project")
    weights = train(project, approach)
    test = rows_of(project, 0)
    change_labels(project, test)
    spoil_pixels(project, test)
    assert train(project, approach) == weights
    # The same change to validation or training clips is felt, so this would show a leak.
    change_labels(project, rows_of(project, 1))
    validated = train(project, approach)
    assert validated != weights
    change_labels(project, rows_of(project, 2, 3, 4))
    assert train(project, approach) not in (weights, validated)

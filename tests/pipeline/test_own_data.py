"""A folder and a table of one's own through fetch, extract and split."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from har import files, params

from .conftest import ROOT


@pytest.fixture
def run_stages(in_tmp_path):
    shutil.copy(ROOT / "params.yaml", "params.yaml")

    def run(**values) -> str:
        params.change({key.replace("__", "."): value for key, value in values.items()})
        said = ""
        for stage in ("fetch", "extract", "split"):
            command = [sys.executable, str(ROOT / f"stages/{stage}.py")]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            said += done.stdout
        return said

    return run


@pytest.fixture
def film(write_video):
    """Write a film that looks like no other one of another seed."""

    def write(path: str, seed: int, n_frames: int = 10) -> Path:
        rng = np.random.default_rng(seed)
        picture = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        return write_video(Path(path), np.stack([picture] * n_frames))

    return write


def test_a_class_of_background_and_groups_by_a_pattern(run_stages, film):
    people = ("anna", "ben", "carl", "dora", "eva")
    for number, person in enumerate(people):
        film(f"videos/Jump/{person}-1.avi", number)
        film(f"videos/_background/{person}-2.avi", 10 + number)
    film("videos/_sources/anna-3.avi", 20)
    shutil.copy("videos/Jump/anna-1.avi", "videos/Jump/anna-4.avi")
    said = run_stages(dataset__name="folder", dataset__group_pattern="^([a-z]+)-")
    rows = files.read_csv(Path("data/split.csv"), {})
    assert {row["class"] for row in rows} == {"Jump", "_background"}
    assert len(rows) == 11
    assert {row["group"] for row in rows} == set(people)
    for person in people:
        assert len({r["group_fold"] for r in rows if r["group"] == person} - {""}) == 1
    assert "11 clips in 5 groups" in said
    assert "left out: Jump/anna-4.avi has the bytes of Jump/anna-1.avi" in said
    assert "joined" not in said


def test_a_table_with_groups_and_folds(run_stages, film):
    rows = ["path,class,group,start,end,fold"]
    for number, person in enumerate(("anna", "ben", "carl", "dora", "eva", "finn")):
        film(f"films/{number}.avi", number, 50)
        fold = {"anna": 3, "eva": 0}.get(person, "")
        rows += [f"films/{number}.avi,Jump,{person},0,1,{fold}"]
        rows += [f"films/{number}.avi,_background,{person},1,,"]
    rows += ["films/0.avi,Jump,anna,1,3,"]
    Path("table.csv").write_text("\n".join(rows) + "\n")
    said = run_stages(dataset__name="table", dataset__path="table.csv", split__folds=4)
    found = {row["clip"]: row for row in files.read_csv(Path("data/split.csv"), {})}
    assert len(found) == 12
    folds = {row["group"]: row["group_fold"] for row in found.values()}
    assert (folds["anna"], folds["eva"]) == ("3", "0")
    assert all(row["group_fold"] == folds[row["group"]] for row in found.values())
    assert "rejected: Jump/0_1-3.avi: row 14 of the table: it is 2.00 s long" in said


def test_near_duplicates_join_groups_where_asked(run_stages, film):
    for number in range(6):
        for label in ("Jump", "Run"):
            film(f"videos/{label}/v_x_g{number:02}_c01.avi", number + 10 * (label == "Run"))
    film("videos/Jump/v_x_g04_c02.avi", 2, 11)
    values = {"dataset__name": "folder", "split__folds": 3}
    assert "joined" not in run_stages(**values, split__merge_duplicates=False)
    assert "joined" not in run_stages(split__merge_duplicates=True, split__protocol="official")
    said = run_stages(split__protocol="group")
    assert "joined, as clips look alike: Jump/g02, Jump/g04 (as Jump/v_x_g02_c01.avi" in said
    groups = {row["clip"]: row["group"] for row in files.read_csv(Path("data/split.csv"), {})}
    assert groups["Jump/v_x_g04_c01.avi"] == groups["Jump/v_x_g02_c01.avi"] == "g02"
    assert groups["Run/v_x_g04_c01.avi"] == "g04"

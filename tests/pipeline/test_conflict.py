"""Two people change different models; one command merges what Git cannot."""

import json
import shutil

import pytest

from har.sharing import lock_merge


def branch(project, name, **params):
    project.run("git", "checkout", "-q", "-b", name, "main")
    project.set(**params)
    project.repro()
    project.commit(name)


@pytest.fixture(scope="module")
def two_branches(finished, tmp_path_factory):
    project = finished.copy(tmp_path_factory.mktemp("conflict") / "project")
    branch(project, "one", **{"convlstm.learning_rate": 0.01})
    branch(project, "two", **{"lrcn.learning_rate": 0.01})
    return project


def test_two_models_changed_on_two_branches(two_branches, tmp_path):
    project = two_branches.copy(tmp_path / "project")
    branches = {}
    for name in ("one", "two"):
        branches[name] = json.loads(
            project.run("git", "show", f"{name}:metrics/metrics.json").stdout
        )
    merge = project.run("git", "merge", "one", "-m", "both", check=False)
    assert merge.returncode, "the merge is in conflict"
    assert "CONFLICT" in merge.stdout
    assert "dvc.lock" in merge.stdout
    done = project.har("resolve")
    assert "Stages that both sides ran: evaluate." in done.stdout
    ran = [line for line in done.stdout.splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'evaluate':"]
    project.run("git", "commit", "-qm", "both")
    assert "up to date" in project.dvc("status").stdout
    assert project.run("git", "status", "--short").stdout == ""
    figures = json.loads((project.path / "metrics/metrics.json").read_text())
    assert figures["convlstm"]["loss"] == branches["one"]["convlstm"]["loss"]
    assert figures["lrcn"]["loss"] == branches["two"]["lrcn"]["loss"]


def test_the_same_knob_on_both_sides_is_a_choice_of_people(two_branches, tmp_path):
    project = two_branches.copy(tmp_path / "project")
    project.run("git", "checkout", "-q", "-b", "three", "main")
    project.set(**{"lrcn.learning_rate": 0.02})
    (project.path / "dvc.lock").write_text((project.path / "dvc.lock").read_text() + "# mine\n")
    project.commit("three")
    project.run("git", "merge", "two", check=False)
    done = project.har("resolve", check=False)
    assert done.returncode == 2
    assert "params.yaml is in conflict too. Choose there" in done.stderr


def test_without_a_merge_it_says_so(finished):
    done = finished.har("resolve", check=False)
    assert done.returncode == 2
    assert "No merge is in conflict" in done.stderr


def lock(**stages):
    return {"schema": "2.0", "stages": {name: {"cmd": cmd} for name, cmd in stages.items()}}


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged", "again"),
    [
        ({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2}, []),
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, []),
        ({"a": 1}, {"a": 2}, {"a": 2}, {"a": 2}, []),
        ({"a": 1}, {"a": 2}, {"a": 3}, {}, ["a"]),
        ({}, {"a": 1}, {"b": 1}, {"a": 1, "b": 1}, []),
        ({"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 2}, {"b": 2}, []),  # ours removed a
        ({"a": 1}, {}, {"a": 2}, {}, ["a"]),
    ],
)
def test_merge_by_stage(base, ours, theirs, merged, again):
    found = lock_merge.merge(lock(**base), lock(**ours), lock(**theirs))
    assert found == (lock(**merged), again)


def test_a_project_in_a_folder_of_a_larger_repository(finished, tmp_path):
    project = finished.copy(tmp_path / "large/project")
    shutil.rmtree(project.path / ".git")
    (tmp_path / "large/other.txt").write_text("of others")
    project.run("git", "init", "-q", "..")
    project.run("git", "add", "-A", "..")
    project.commit("start")
    project.run("git", "branch", "-M", "main")
    branch(project, "one", **{"convlstm.learning_rate": 0.01})
    branch(project, "two", **{"lrcn.learning_rate": 0.01})
    project.run("git", "merge", "one", "-m", "both", check=False)
    assert "Stages that both sides ran: evaluate." in project.har("resolve").stdout
    project.run("git", "commit", "-qm", "both")
    assert "up to date" in project.dvc("status").stdout
    assert project.run("git", "status", "--short").stdout == ""
    project.har("report", "--folder", "report")
    page = (project.path / "report/report.md").read_text()
    for row in ("| `train-convlstm` | `convlstm.learning_rate` |", "| `lrcn.learning_rate` | `"):
        assert row in page
    pictures = {path.name.rpartition("-")[0] for path in (project.path / "report").rglob("*.png")}
    assert {"convlstm-curves", "lrcn-curves"} <= pictures
    assert len(list((project.path / "report").rglob("lrcn-curves-*.png"))) == 2, "both sides"

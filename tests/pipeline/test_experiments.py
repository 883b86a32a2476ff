"""The experiments of docs/experiments.md: a queue, a table, the best applied, the registry."""

import json
import re

import pytest
import yaml

from . import documents
from .documents import commands, type_in

# The document's sweep, small: four experiments are two.
SMALLER = {"train.frames=10,20": "train.frames=2"}


@pytest.fixture(scope="module")
def typed(finished, tmp_path_factory):
    """A project in which everything of the document was typed, and what each command printed."""
    project = finished.copy(tmp_path_factory.mktemp("experiments") / "project")
    documents.install(project)
    project.env["COLUMNS"] = "160"  # a terminal in which the tables have room
    project.run("git", "checkout", "-q", "-b", "mine")
    printed = []
    for _, line, needs in commands("docs/experiments.md"):
        if line == "dvc exp apply NAME":
            (line,) = [f"dvc exp apply {experiments(project)[0]}"]
        elif needs:
            continue
        for full, small in SMALLER.items():
            line = line.replace(full, small)
        printed.append((line, type_in(project, line)))
    return project, printed


def experiments(project) -> list[str]:
    """Return the names of finished experiments, the highest learning rate first."""
    table = json.loads(project.dvc("exp", "show", "--json").stdout)
    found = {
        e["name"]: e["revs"][0]["data"]["params"]["params.yaml"]["data"]["lrcn"]["learning_rate"]
        for revision in table
        for e in revision["experiments"] or []
        if e["name"]
    }
    return sorted(found, key=found.get, reverse=True)


def printed_by(typed, start: str) -> str:
    (text,) = [text for line, text in typed[1] if line.startswith(start)]
    return text


def test_the_queue_ran_and_the_table_shows_every_experiment(typed):
    assert printed_by(typed, "dvc exp run --queue").count("Queued experiment") == 2
    (table,) = [
        text for line, text in typed[1] if line.startswith("dvc exp show") and "keep" in line
    ]
    assert {"0.002", "0.01"} <= set(re.findall(r"\d\.\d+", table)), table
    assert "lrcn.accuracy_low" in table


def test_the_best_is_on_the_branch(typed):
    project, _ = typed
    params = yaml.safe_load(project.run("git", "show", "HEAD:params.yaml").stdout)
    assert params["lrcn"]["learning_rate"] == 0.01
    assert project.lock()["stages"]["train-lrcn"]["params"]["params.yaml"]["lrcn"] == params["lrcn"]
    assert "up to date" in project.dvc("status").stdout


def test_the_plots_are_a_page_with_both_sides(typed):
    project, _ = typed
    page = (project.path / ".work/plots/index.html").read_text()
    assert "main" in page
    assert "vega" in page.lower()


def test_the_registry_gives_the_model(typed):
    project, _ = typed
    got = project.path / ".work/lrcn"
    for name in ("model.keras", "card.json", "history.csv"):
        assert (got / name).read_bytes() == (project.path / "models/lrcn" / name).read_bytes()
    # The document's last command, with a clip that is here.
    clip = next((project.path / "data/fetched").rglob("*.avi"))
    answer = type_in(project, f"har predict {clip} --model .work/lrcn")
    assert "Class0" in answer
    assert "Class1" in answer
    for artifact in yaml.safe_load((project.path / "dvc.yaml").read_text())["artifacts"].values():
        assert artifact["type"] == "model"
        assert artifact["desc"]
        assert artifact["labels"]

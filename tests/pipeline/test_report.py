"""The report of two real commits, held against what DVC says."""

import csv
import json
import re

import numpy as np
import pytest

from har.evaluation import paired


@pytest.fixture(scope="module")
def changed(finished, tmp_path_factory):
    """Main and a branch on which LRCN learns longer and with another rate."""
    project = finished.copy(tmp_path_factory.mktemp("report") / "project")
    project.run("git", "checkout", "-q", "-b", "faster")
    project.set(**{"lrcn.learning_rate": 0.05})
    project.repro()
    project.commit("LRCN learns faster")
    return project


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the rows of the table below a heading."""
    section = text.split(f"### {heading}\n")[1].split("\n### ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in table[2:]]


def test_the_page_says_what_dvc_says(changed):
    text = changed.har("report", "--base", "main").stdout
    metrics = json.loads(changed.dvc("metrics", "diff", "main", "--json").stdout)
    metrics = metrics["metrics/metrics.json"]
    judged = {k for k in metrics if not k.endswith(("_low", "_high"))}
    table = {row[0]: row for row in rows(text, "Metrics")}
    assert set(table) == judged
    for key in judged:
        assert float(table[key][1]) == pytest.approx(metrics[key]["old"], rel=1e-4), key
        assert float(table[key][2]) == pytest.approx(metrics[key]["new"], rel=1e-4), key
        assert float(table[key][3]) == pytest.approx(metrics[key]["diff"], abs=1e-3), key
    params = json.loads(changed.dvc("params", "diff", "main", "--json").stdout)["params.yaml"]
    assert rows(text, "Params") == [[k, str(v["old"]), str(v["new"])] for k, v in params.items()]
    assert rows(text, "Stages") == [
        ["train-lrcn", "lrcn.learning_rate"],
        ["evaluate", "models/lrcn"],
    ]
    assert "Did not run: `fetch`, `extract`, `split`, `train-convlstm`." in text
    for name in ("main", "faster"):
        sha = changed.run("git", "rev-parse", "--short", name).stdout.strip()
        assert f"{name} ({sha} " in text
    assert "convlstm accuracy" in text.split("### Metrics")[0], "the verdict speaks of each model"
    assert "lrcn accuracy" in text.split("### Metrics")[0]


def test_the_folder_holds_the_page_and_both_sides_of_each_picture(changed):
    base, here = "metrics/lrcn/curves.png", changed.path / "metrics/lrcn/curves.png"
    folder = changed.path / ".work/report"
    changed.har(
        "report", "--base", "main", "--folder", str(folder), "--pictures-url", "https://e.org/p"
    )
    text = (folder / "report.md").read_text()
    (curves,) = [row for row in rows(text, "Pictures") if row[0] == "lrcn curves"]
    old, new = (re.search(r"e\.org/p/([\w.-]+)\)", cell)[1] for cell in curves[1:])
    assert (folder / "pictures" / new).read_bytes() == here.read_bytes()
    lock = changed.run("git", "show", "main:dvc.lock").stdout
    md5 = re.search(rf"path: {base}\n\s+hash: md5\n\s+md5: (\w+)", lock)[1]
    cached = changed.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    assert (folder / "pictures" / old).read_bytes() == cached.read_bytes()
    html = (folder / "report.html").read_text()
    assert f'src="pictures/{new}"' in html
    assert html.count("<table>") == 4
    assert changed.run("git", "status", "--short").stdout == ""


def test_figures_that_are_not_current_are_told(changed, tmp_path):
    project = changed.copy(tmp_path / "project")
    project.set(**{"convlstm.learning_rate": 0.5})
    text = project.har("report", "--base", "main").stdout
    assert "**Figures are not current:** `train-convlstm` would run again." in text
    assert "with changes not committed" in text


@pytest.mark.parametrize(("base", "says"), [("nobody", "git fetch"), ("--help", "git fetch")])
def test_an_unknown_base_is_one_line(finished, base, says):
    done = finished.har("report", f"--base={base}", check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Expected a commit")
    assert says in line


def test_a_base_before_the_first_run(finished):
    """No dvc.lock and no metrics on one side: everything is new."""
    first = finished.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    finished.run("git", "tag", "-f", "first", first)
    text = finished.har("report", "--base", "first").stdout
    assert "| `train-lrcn` | `a new stage` |" in text


def test_predictions_of_both_sides_are_paired(changed, tmp_path):
    """The interval on the page is that of the two tables; one of them is edited here."""
    project = changed.copy(tmp_path / "project")
    path = project.path / "metrics/lrcn/predictions.csv"
    project.dvc("get", ".", "metrics/lrcn/predictions.csv", "--rev", "main", "-o", "base.csv")
    table = list(csv.DictReader((project.path / "base.csv").read_text().splitlines()))
    hits = np.array([row["actual"] == row["predicted"] for row in table])
    now = ~hits
    now[0] = hits[0]
    for row, hit in zip(table, now, strict=True):
        row["predicted"] = row["actual"] if hit else "another"
    path.unlink()  # a link into the cache
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(reversed(table))  # the order of rows says nothing
    figures = json.loads((project.path / "metrics/metrics.json").read_text())
    figures["lrcn"]["accuracy"] = 0.123
    (project.path / "metrics/metrics.json").write_text(json.dumps(figures))
    _, low, high = paired.difference(hits, now, [row["group"] for row in table])
    text = project.har("report", "--base", "main").stdout
    (row,) = [row for row in rows(text, "Metrics") if row[0] == "lrcn.accuracy"]
    assert [float(end) for end in row[4].split(" to ")] == pytest.approx([low, high], abs=1e-4)
    assert "**Not paired:** `lrcn.accuracy`" not in text
    # Without the table of one side the page says so.
    path.unlink()
    assert "**Not paired:** `lrcn.accuracy`" in project.har("report", "--base", "main").stdout


def test_a_project_in_a_folder_of_a_larger_repository(changed, tmp_path):
    """Report and merge work from the project's folder, and see nothing of the rest."""
    whole, inner = tmp_path / "whole", tmp_path / "inner.git"
    project = changed.copy(whole / "lab")
    (project.path / ".git").rename(inner)
    project.run("git", "init", "-q", "-b", "main", str(whole))
    for branch in ("main", "faster"):
        git = ("git", "--git-dir", str(inner), "--work-tree", str(project.path))
        project.run(*git, "checkout", "-q", branch)
        project.run("git", "checkout", "-q", "-B", branch)
        project.commit(branch)
    (whole / "other").mkdir()
    (whole / "other/dvc.lock").write_text("of another project")
    project.run("git", "-C", str(whole), "add", "other")
    project.run("git", "-C", str(whole), "commit", "-qm", "other")
    (whole / "other/dvc.lock").write_text("edited")
    text = project.har("report", "--base", "main").stdout
    assert rows(text, "Stages") == [
        ["train-lrcn", "lrcn.learning_rate"],
        ["evaluate", "models/lrcn"],
    ]
    assert "with changes not committed" not in text
    assert "not current" not in text


def test_git_speaks_for_itself(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.env["GIT_TEST_ASSUME_DIFFERENT_OWNER"] = "1"
    for command in ("report", "resolve"):
        done = project.har(command, check=False)
        assert done.returncode == 2
        assert "dubious ownership" in done.stderr
        assert "safe.directory" in done.stderr, "Git says what to do"
        assert len(done.stderr.splitlines()) == 1

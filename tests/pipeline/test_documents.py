"""What the documents say to type works, at small size; what is set up for others is valid."""

import re
import subprocess

import pytest
import yaml

from . import documents
from .conftest import ROOT
from .documents import DOCUMENTS, commands, type_in

# Of documents that carry no marks themselves: what a command needs that is not here.
NEEDS = {
    r"make (repro|test)$": "minutes; they are what every check of a change runs",
    r"dataset\.name=ucf": "the network",
    r"benchmarks/": "the full run's models",
}
EXPERIMENTS = "docs/experiments.md"  # run in test_experiments.py
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def runnable(document):
    return [
        command
        for command in commands(document)
        if not command.needs and not any(re.search(what, command.line) for what in NEEDS)
    ]


def test_every_document_is_looked_at():
    assert {"docs/remote.md", "docs/reports.md", "docs/own-data.md"} <= set(DOCUMENTS)
    assert len(runnable("docs/remote.md")) > 8
    assert len(runnable("docs/reports.md")) > 4


@pytest.fixture(scope="module")
def reader(finished, tmp_path_factory):
    """A finished project on a branch of its own, one commit ahead of main."""
    project = finished.copy(tmp_path_factory.mktemp("reader") / "project")
    documents.install(project)
    project.run("git", "checkout", "-q", "-b", "mine")
    # The tests are not part of the copy.
    (project.path / "tests").mkdir()
    (project.path / "tests/test_splits.py").write_text("def test_nothing():\n    assert True\n")
    project.commit("On the way")
    return project


@pytest.mark.parametrize("document", ["docs/remote.md", "docs/reports.md", "docs/own-data.md"])
def test_the_commands_of(reader, document):
    for command in runnable(document):
        type_in(reader, command.line)


def test_the_commands_of_contributing(reader):
    for command in runnable("CONTRIBUTING.md"):
        type_in(reader, command.line)
    type_in(reader, "pre-commit run --all-files")
    hooks = {path.name for path in (reader.path / ".git/hooks").iterdir()}
    assert {"pre-commit", "pre-push", "post-checkout"} <= hooks


def test_the_commands_of_the_readme(reader):
    chosen = [command.line for command in runnable("README.md") if "exp run" in command.line]
    assert chosen
    for line in chosen:
        # The clips are in a shared folder here, and the recipe's 70 epochs are two.
        small = line.replace("train.epochs=70", "train.epochs=2")
        type_in(reader, small)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_targets_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for path in documents.paths_named(text):
        assert ((ROOT / document).parent / path).exists(), path
    for target in re.findall(r"`make ([a-z]+)", text) + re.findall(r"^make ([a-z]+)", text, re.M):
        assert target in documents.targets(), target


def steps(workflow):
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_say_what_exists(workflow):
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])
            continue
        script = step["run"]
        subprocess.run(["bash", "-n", "-c", script], check=True)
        assert "${{" not in script, "text of a pull request must not become part of a script"
        for target in re.findall(r"\bmake ([a-z]+)", script):
            assert target in documents.targets(), target
        for name in re.findall(r"(?:^|bin/| )har ([a-z]+)", script, re.MULTILINE):
            assert re.search(rf"^def {name}\(", (ROOT / "har/cli.py").read_text(), re.MULTILINE)


def test_the_pictures_of_a_pull_request_are_published(finished, tmp_path):
    """The step of the workflow, run against a real repository."""
    (script,) = [
        step["run"]
        for step in steps(ROOT / ".github/workflows/report.yml")
        if step.get("name", "").startswith("Publish")
    ]
    project = finished.copy(tmp_path / "project")
    origin = tmp_path / "origin.git"
    project.run("git", "clone", "-q", "--bare", ".", str(origin))
    project.run("git", "remote", "add", "origin", str(origin))
    folder = project.path / ".work/report/pictures"
    folder.mkdir(parents=True, exist_ok=True)
    before = project.run("git", "status", "--short").stdout
    for name in ("one.png", "two.png"):  # the second time as after another push
        for old in folder.iterdir():
            old.unlink()
        (folder / name).write_bytes(name.encode())
        project.env["NUMBER"] = "7"
        type_in(project, script)
        listed = project.run("git", "--git-dir", str(origin), "ls-tree", "-r", "har-report-7")
        assert [line.split("\t")[1] for line in listed.stdout.splitlines()] == [name]
    assert project.run("git", "status", "--short").stdout == before


def test_gitlab_says_what_exists():
    jobs = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    lines = [line for job in jobs.values() for line in job.get("script", [])]
    assert lines
    for target in re.findall(r"\bmake ([a-z]+)", " ".join(lines)):
        assert target in documents.targets(), target


def test_the_citation_holds_what_its_schema_asks_for():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["authors"] == [{"name": "the har developers"}]
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert citation["version"] == version[1]
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_line_ends_are_the_same_everywhere():
    listed = subprocess.run(
        ["git", "ls-files", "--eol"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    assert not [line for line in listed.splitlines() if line.startswith(("i/crlf", "i/mixed"))]

"""What the documents say to type works, at small size; what is set up for others is valid."""

import re
import subprocess

import pytest
import yaml

from . import documents
from .conftest import ROOT, fill
from .documents import DOCUMENTS, commands, type_in

# Of documents that carry no marks themselves: what a command needs that is not here.
NEEDS = {
    r"make (repro|test)$": "minutes; they are what every check of a change runs",
    r"dataset\.name=ucf": "the network",
    r"benchmarks/": "the full run's models",
}
# And what other tests run, by themselves or with other names of files.
ELSEWHERE = {
    r"^har predict camera": "predictor/test_camera.py",
    r"^har predict http": "predictor/test_web_video.py",
    r"^har predict": "predictor/test_files_of_answers.py",
    r"^har export": "export/test_convert.py",
    r"^har serve": "app/test_page.py",
    r"^pip install": "",  # needs the network
    r"KERAS_BACKEND=jax|list_devices": "training/test_devices.py",
}
TYPED = {  # in test_experiments.py the first, here the others
    "docs/experiments.md",
    "docs/remote.md",
    "docs/reports.md",
    "docs/own-data.md",
    "CONTRIBUTING.md",
}
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


@pytest.mark.parametrize("document", sorted(set(DOCUMENTS) - TYPED))
def test_every_other_command_is_run_by_a_test(document):
    for command in runnable(document):
        where = [file for what, file in ELSEWHERE.items() if re.search(what, command.line)]
        assert where, f"nothing runs {command.line!r}, and it is not marked with `# needs …`"
        assert not where[0] or (ROOT / "tests" / where[0]).is_file(), where


@pytest.fixture(scope="module")
def reader(finished, tmp_path_factory):
    """A finished project on a branch of its own, one commit ahead of main."""
    project = finished.copy(tmp_path_factory.mktemp("reader") / "project")
    documents.install(project)
    project.run("git", "checkout", "-q", "-b", "mine")
    # The tests are not part of the copy.
    (project.path / "tests/clips").mkdir(parents=True)
    (project.path / "tests/clips/test_splits.py").write_text(
        "def test_nothing():\n    assert True\n"
    )
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
    """The reader's own clips, with the folder that the document names; its lines of Python."""
    fill(reader.path / "my_clips")
    (line,) = [command.line for command in commands("README.md") if "path=my_clips" in command.line]
    type_in(reader, line)
    clip = next((reader.path / "my_clips").rglob("*.avi"))
    (reader.path / "clip.mp4").symlink_to(clip)
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    printed = reader.python("-c", code).stdout
    assert "Class0" in printed
    assert "Class1" in printed


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_targets_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for path in documents.paths_named(text):
        assert ((ROOT / document).parent / path).exists(), path
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
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
        for target in re.findall(r"\bmake ([a-z-]+)", script):
            assert target in documents.targets(), target
        for name in re.findall(r"(?:^|bin/| )har ([a-z]+)", script, re.MULTILINE):
            assert re.search(rf"^def {name}\(", (ROOT / "har/cli.py").read_text(), re.MULTILINE)


def check(project, name, **env):
    """Run a step of ci.yml as GitHub does; return its exit code and what it said."""
    (script,) = [
        step["run"] for step in steps(ROOT / ".github/workflows/ci.yml") if step.get("name") == name
    ]
    project.env |= env
    done = project.run("bash", "-e", "-o", "pipefail", "-c", script, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_checks_of_a_pull_request(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    documents.install(project)
    assert check(project, "dvc.lock is current")[0] == 0
    stored = "Every output is on the remote"
    code, said = check(project, stored, AWS_ACCESS_KEY_ID="")
    assert (code, said) == (0, "No remote is set up: nothing to check.\n")
    project.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    (tmp_path / "storage").mkdir()
    assert "as in a fork" in check(project, stored, AWS_ACCESS_KEY_ID="")[1]
    code, said = check(project, stored, AWS_ACCESS_KEY_ID="some")
    assert code == 1
    assert "data/frames.h5" in said
    project.har("push")
    assert check(project, stored)[0] == 0
    project.set(**{"lrcn.learning_rate": 0.5})
    code, said = check(project, "dvc.lock is current")
    assert code == 1
    assert "dvc.lock is stale" in said


def test_make_installs_what_the_remote_needs(new_project):
    project = new_project()
    documents.install(project)
    python = project.path / ".venv/bin/python"
    python.write_text('#!/bin/sh\necho "$@" >> asked\n')
    python.chmod(0o755)
    asked = project.path / "asked"
    project.run("make", "storage")
    assert not asked.exists(), "without a remote nothing is needed"
    project.dvc("remote", "add", "--default", "storage", "s3://bucket/har")
    for _ in range(2):
        project.run("make", "storage")
        (line,) = asked.read_text().splitlines()
        assert line.endswith("--constraint .venv/versions.txt -e .[s3]")
    assert "dvc-s3==" in (project.path / ".venv/versions.txt").read_text()


def test_hooks_let_git_work_before_there_is_a_remote_or_a_result(new_project, tmp_path):
    project = new_project()
    documents.install(project)
    project.run("git", "init", "-q", "--bare", str(tmp_path / "origin.git"))
    project.run("git", "remote", "add", "origin", str(tmp_path / "origin.git"))
    project.run("pre-commit", "install", "--install-hooks")
    project.run("git", "checkout", "-q", "-b", "mine")
    project.run("git", "push", "-q", "origin", "mine")
    # With a remote, what is not here cannot be pushed, and Git's push waits for it.
    project.dvc("remote", "add", "--default", "storage", str(tmp_path / "storage"))
    project.commit("remote")
    assert "make repro" in project.run("git", "push", "origin", "mine", check=False).stdout


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
    for target in re.findall(r"\bmake ([a-z-]+)", " ".join(lines)):
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

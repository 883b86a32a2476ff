"""A second machine pulls instead of computing; what was interrupted is completed by a re-run."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from .conftest import Project, processor_seconds
from .s3_server import BUCKET, Line, S3Server

FRAMES = "data/frames.h5"


@pytest.fixture(scope="module")
def server():
    server = S3Server()
    yield server
    server.kill()


@pytest.fixture
def line(server):
    line = Line(server.port)
    line.connect()
    yield line
    line.cut()


@pytest.fixture
def origin(finished, server, line, tmp_path, request) -> Project:
    """A finished project whose remote, empty yet, is the S3 server at the other end of `line`."""
    project = finished.copy(tmp_path / "origin")
    project.env |= {
        "AWS_ACCESS_KEY_ID": server.key,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    set_storage(project, f"s3://{BUCKET}/{request.node.name}", line.url)
    return project


def set_storage(project: Project, url: str, endpoint: str | None = None) -> None:
    """Do what docs/remote.md says, and commit it."""
    project.dvc("remote", "add", "--default", "storage", url)
    project.dvc("config", "remote.storage.verify", "true")
    if endpoint:
        project.dvc("config", "remote.storage.endpointurl", endpoint)
    project.commit("storage")


def outputs(project: Project) -> dict[str, str]:
    return {
        out["path"]: out["md5"]
        for stage in project.lock()["stages"].values()
        for out in stage["outs"]
    }


def fails(project: Project, *command: str, says: str) -> None:
    """Run `har`: exit code 2, no traceback, and a last line that says what to do."""
    done = project.har(*command, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: "), done.stderr
    assert says in done.stderr, done.stderr


def assert_pulled(project: Project) -> None:
    for name in outputs(project):
        assert (project.path / name).exists(), name
    assert "up to date" in project.dvc("status").stdout
    assert project.run("git", "status", "--short").stdout == ""


def objects(project: Project) -> set[str]:
    """Return the keys of all objects that dvc.lock names, files of folders included."""
    cache, keys = project.path / ".dvc/cache/files/md5", set()
    for stage in project.lock()["stages"].values():
        for out in stage["outs"]:
            if out["path"] == "metrics/metrics.json" or "per_class" in out["path"]:
                continue  # in Git
            oids = [out["md5"]]
            if out["md5"].endswith(".dir"):
                listed = json.loads((cache / out["md5"][:2] / out["md5"][2:]).read_text())
                oids += [entry["md5"] for entry in listed]
            keys |= {f"{oid[:2]}/{oid[2:]}" for oid in oids}
    return keys


def in_folder(storage: Path) -> set[str]:
    """Return the keys of all objects of a remote that is a folder."""
    files = storage / "files/md5"
    return {path.relative_to(files).as_posix() for path in files.glob("*/*")}


def stored(server: S3Server, project: Project, name: str) -> str:
    """Return the key of an output in the bucket."""
    md5 = outputs(project)[name]
    folder = project.dvc("config", "remote.storage.url").stdout.strip().rpartition("/")[2]
    own = [key for key in server.objects() if key.startswith(f"{folder}/")]
    (key,) = [key for key in own if key.endswith(f"{md5[:2]}/{md5[2:]}")]
    return key


def spoil(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


def test_a_second_machine_pulls_and_computes_nothing_but_what_it_changes(origin, server, tmp_path):
    assert "Every output" in origin.har("push").stdout
    second = origin.clone(tmp_path / "second")
    assert "Every output of this commit is here." in second.har("pull").stdout
    assert_pulled(second)
    assert second.repro() == []
    assert json.loads(second.dvc("data", "status", "--not-in-remote", "--json").stdout) == {}
    # A third one changes a param before it has pulled anything.
    third = origin.clone(tmp_path / "third")
    third.set(**{"lrcn.learning_rate": 0.01})
    assert third.repro("--pull") == ["train-lrcn", "evaluate"]
    assert third.lock()["stages"]["train-convlstm"] == origin.lock()["stages"]["train-convlstm"]


def test_a_folder_is_a_remote_too(finished, tmp_path):
    origin = finished.copy(tmp_path / "origin")
    storage = tmp_path / "storage"
    set_storage(origin, "../storage")
    config = (origin.path / ".dvc/config").read_text()
    assert str(tmp_path) not in config, "the path of this clone is not committed"
    origin.har("push")
    assert in_folder(storage) == objects(origin)
    second = origin.clone(tmp_path / "second")
    second.har("pull")
    assert_pulled(second)
    # A damaged file in the folder is noticed, and thrown away by DVC itself.
    md5 = outputs(origin)[FRAMES]
    kept = storage / "files/md5" / md5[:2] / md5[2:]
    data = kept.read_bytes()
    kept.chmod(0o644)
    kept.write_bytes(spoil(data))
    third = origin.clone(tmp_path / "third")
    fails(third, "pull", says="`dvc pull` failed")
    assert not (third.path / FRAMES).exists(), "damaged bytes are not checked out"
    origin.har("push")
    third.har("pull")
    assert_pulled(third)


# Ends DVC while it lists what to push or pull, after two of three outputs or more.
KILL = """
import os, signal, sys
import dvc_data.index.fetch
module, calls = sys.modules["dvc_data.index.collect"], []
collect = module._collect_from_index
def killed(*args, **kwargs):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return collect(*args, **kwargs)
module._collect_from_index = killed
"""


def kill_in_the_middle(project: Project, folder: Path, command: str) -> None:
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILL)
    path = project.env["PYTHONPATH"]
    project.env["PYTHONPATH"] = f"{folder}:{path}"
    assert project.dvc(command, check=False).returncode == -9
    project.env["PYTHONPATH"] = path


def test_a_killed_push_is_completed_by_the_next(finished, tmp_path):
    """DVC keeps half a list of a killed push and takes it for the whole (dvc 3.67)."""
    origin = finished.copy(tmp_path / "origin")
    set_storage(origin, "../storage")
    kill_in_the_middle(origin, tmp_path / "kill", "push")
    assert in_folder(tmp_path / "storage") < objects(origin)
    origin.dvc("push")  # makes the hole: with DVC 3.67 files are missing after it
    origin.har("push")
    assert in_folder(tmp_path / "storage") == objects(origin)
    second = origin.clone(tmp_path / "second")
    kill_in_the_middle(second, tmp_path / "kill2", "pull")
    second.har("pull")
    assert_pulled(second)


def test_a_hole_that_dvc_does_not_see_is_filled(finished, tmp_path):
    """A listing on the storage stands for its files, for DVC; it never asks for these again."""
    origin = finished.copy(tmp_path / "origin")
    set_storage(origin, "../storage")
    origin.har("push")
    (listed,) = (tmp_path / "storage/files/md5").glob(
        "/".join((outputs(origin)["models/lrcn"][:2], outputs(origin)["models/lrcn"][2:]))
    )
    md5 = json.loads(listed.read_text())[0]["md5"]
    (tmp_path / "storage/files/md5" / md5[:2] / md5[2:]).unlink()
    assert "up to date" in origin.dvc("push").stdout
    assert "in sync" in origin.dvc("status", "--cloud").stdout
    origin.har("push")
    assert in_folder(tmp_path / "storage") == objects(origin)
    # What is nowhere is named.
    for place in (tmp_path / "storage", origin.path / ".dvc/cache"):
        (place / "files/md5" / md5[:2] / md5[2:]).unlink()
    fails(origin, "push", says="models/lrcn/")


def test_without_a_remote_it_says_how_to_set_one(finished):
    for command in ("pull", "push"):
        fails(finished, command, says="No storage is set. Run `dvc remote add -d storage URL`")


def test_a_drive_that_is_not_there(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    drive = tmp_path / "drive"
    set_storage(project, str(drive / "har"))
    for command in ("pull", "push"):
        fails(project, command, says=f"{drive} is not there. Connect its drive.")
    assert not drive.exists(), "nothing is made in its place"


def test_before_the_first_run_there_is_nothing_to_share(new_project, tmp_path):
    project = new_project()
    set_storage(project, str(tmp_path / "storage"))
    for command in ("pull", "push"):
        fails(project, command, says="Run `make repro` and commit dvc.lock")


def test_outside_of_a_project_it_is_one_line(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    shutil.rmtree(project.path / ".dvc")
    fails(project, "push", says="not inside of a DVC repository")


def test_without_git_it_is_one_line(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    shutil.rmtree(project.path / ".git")
    for command in ("push", "pull", "resolve", "report"):
        fails(project, command, says="git repository")
        fails(project, command, says=". Run `git init`, or do without: `dvc config --local core")
    done = project.run("make", "repro", check=False)
    assert done.returncode == 2
    assert "Run git init here, or clone the project." in done.stdout
    assert not (project.path / ".venv").exists(), "said before minutes of set-up"


def test_without_git_results_come_all_the_same(finished, tmp_path):
    origin = finished.copy(tmp_path / "origin")
    set_storage(origin, "../storage")
    origin.har("push")
    project = origin.clone(tmp_path / "project")
    shutil.rmtree(project.path / ".git")
    project.dvc("config", "--local", "core.no_scm", "true")
    project.har("pull")
    for name in outputs(project):
        assert (project.path / name).exists(), name
    assert project.repro() == []


def test_wrong_credentials(origin, server):
    right = origin.env["AWS_SECRET_ACCESS_KEY"]
    origin.env["AWS_SECRET_ACCESS_KEY"] = "wrong"
    fails(origin, "push", says="`dvc push` failed")
    assert not [key for key in server.objects() if "test_wrong" in key]
    origin.env["AWS_SECRET_ACCESS_KEY"] = right
    origin.har("push")
    shutil.rmtree(origin.path / ".dvc/cache")
    (origin.path / FRAMES).unlink()  # so that there is something to pull
    origin.env["AWS_SECRET_ACCESS_KEY"] = "wrong"
    fails(origin, "pull", says="`dvc pull` failed")
    origin.env["AWS_SECRET_ACCESS_KEY"] = right
    origin.har("pull")
    assert_pulled(origin)


def test_a_server_that_dies_half_way(origin, server, line, tmp_path, request):
    total = (origin.path / FRAMES).stat().st_size
    line.connect(total)
    fails(origin, "push", says="`dvc push` failed")
    some = server.objects(request.node.name)
    line.connect()
    origin.har("push")
    assert len(server.objects(request.node.name)) == len(objects(origin)) > len(some)
    second = origin.clone(tmp_path / "second")
    line.connect(total)
    fails(second, "pull", says="`dvc pull` failed")
    line.cut()
    fails(second, "pull", says="`dvc pull` failed")
    line.connect()
    second.har("pull")
    assert_pulled(second)


def test_an_object_that_the_remote_lacks_or_has_damaged(origin, server, tmp_path):
    origin.har("push")
    key = stored(server, origin, FRAMES)
    data = server.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    server.s3.delete_object(Bucket=BUCKET, Key=key)
    second = origin.clone(tmp_path / "second")
    fails(second, "pull", says="`dvc pull` failed")
    origin.har("push")
    assert server.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
    second.har("pull")
    assert_pulled(second)

    server.s3.put_object(Bucket=BUCKET, Key=key, Body=spoil(data))
    third = origin.clone(tmp_path / "third")
    fails(third, "pull", says="`dvc pull` failed")
    assert not (third.path / FRAMES).exists(), "damaged bytes are not checked out"
    server.s3.delete_object(Bucket=BUCKET, Key=key)  # as docs/remote.md says
    origin.har("push")
    third.har("pull")
    assert_pulled(third)


def test_an_output_changed_by_hand_is_not_overwritten_unasked(origin):
    origin.har("push")
    table = origin.path / "data/split.csv"
    table.unlink()
    table.write_text("mine")
    fails(origin, "pull", says="data/split.csv")
    assert table.read_text() == "mine"
    origin.har("pull", "--force")
    assert_pulled(origin)


def test_of_ucf50_everything_but_clips_is_stored(origin, server, tmp_path, request):
    """The lock of a run on UCF50: the same one, with the data set's name in its params."""
    for name in ("params.yaml", "dvc.lock"):
        text = (origin.path / name).read_text()
        (origin.path / name).write_text(text.replace("name: folder", "name: ucf50"))
    origin.commit("UCF50")
    assert "up to date" in origin.dvc("status").stdout
    origin.har("push")
    keys = server.objects(request.node.name)
    clips = len(list((origin.path / "data/fetched").rglob("*.avi")))
    # frames, tables and pictures; two models of three files and their listing
    assert len(keys) <= len(outputs(origin)) - 3 + 2 * 3, keys
    second = origin.clone(tmp_path / "second")
    told = second.har("pull").stdout
    assert "All but data/fetched is here" in told
    assert (second.path / FRAMES).exists()
    assert second.repro("--pull", "--allow-missing") == []
    second.set(**{"lrcn.learning_rate": 0.01})
    assert second.repro("--pull", "--allow-missing") == ["train-lrcn", "evaluate"]
    origin.har("push", "--clips")
    assert len(server.objects(request.node.name)) == len(keys) + clips + 1


def test_a_colleague_without_the_clips_works_on_the_pulled_ones(finished, tmp_path):
    """The folder of clips is another one there: fetch is stale, and left out by name."""
    project = finished.copy(tmp_path / "project")
    lock = project.lock()
    fetch = lock["stages"]["fetch"]
    folder = fetch["params"]["params.yaml"]["dataset"]["path"]
    (dep,) = [dep for dep in fetch["deps"] if dep["path"] == folder]
    dep["md5"] = "0" * 32 + ".dir"
    (project.path / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    assert "fetch" in project.dvc("status").stdout
    assert project.repro("--dry")[0] == "fetch"
    all_but_fetch = ["extract", "split", "train-convlstm", "train-lrcn", "evaluate"]
    assert "Running" not in project.dvc("repro", "--dry", "--single-item", *all_but_fetch).stdout
    project.set(**{"lrcn.learning_rate": 0.01})
    assert project.repro("--single-item", *all_but_fetch) == ["train-lrcn", "evaluate"]


def test_nothing_to_do_takes_under_three_seconds(finished):
    for command in (("status",), ("repro",)):
        start = processor_seconds()
        assert "up to date" in finished.dvc(*command).stdout
        assert processor_seconds() - start < 3, command

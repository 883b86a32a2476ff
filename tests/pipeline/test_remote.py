"""A second machine pulls instead of computing; whatever breaks is told and healed by a re-run."""

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml

from .conftest import Project
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
    url = f"s3://{BUCKET}/{request.node.name}"
    project.har("remote", url, "--endpoint", line.url)
    project.commit("remote")
    return project


def outputs(project: Project) -> dict[str, str]:
    return {
        out["path"]: out["md5"]
        for stage in project.lock()["stages"].values()
        for out in stage["outs"]
    }


def fails(project: Project, *command: str, says: str) -> None:
    """Run `har` and hold it to one line that says what to do, and exit code 2."""
    done = project.har(*command, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: Expected ")
    assert "Received: " in line
    assert says in line, line


def assert_pulled(project: Project) -> None:
    for name in outputs(project):
        assert (project.path / name).exists(), name
    assert "up to date" in project.dvc("status").stdout
    assert project.run("git", "status", "--short").stdout == ""


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
    assert "Pushed" in origin.har("push").stdout
    second = origin.clone(tmp_path / "second")
    assert "Nothing is left to run." in second.har("pull").stdout
    assert_pulled(second)
    assert second.repro() == []
    assert json.loads(second.dvc("data", "status", "--not-in-remote", "--json").stdout) == {}
    # A third one changes a knob before it has pulled anything.
    third = origin.clone(tmp_path / "third")
    third.set(**{"lrcn.learning_rate": 0.01})
    assert third.repro("--pull") == ["train-lrcn", "evaluate"]
    assert third.lock()["stages"]["train-convlstm"] == origin.lock()["stages"]["train-convlstm"]


def test_a_folder_is_a_remote_too(finished, tmp_path):
    origin = finished.copy(tmp_path / "origin")
    storage = tmp_path / "storage"
    origin.har("remote", str(storage))
    origin.commit("remote")
    origin.har("push")
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
    fails(third, "pull", says=f"all but {FRAMES}. Ask whoever committed dvc.lock")
    origin.har("push")
    third.har("pull")
    assert_pulled(third)


def test_without_a_remote_it_says_how_to_set_one_up(finished):
    fails(finished, "pull", says="make remote URL=s3://bucket/path")
    fails(finished, "push", says="make remote URL=s3://bucket/path")


def test_a_drive_that_is_not_there(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    drive = tmp_path / "drive"
    drive.mkdir()
    project.har("remote", str(drive / "har"))
    fails(project, "pull", says="run `make push`")
    drive.rmdir()
    fails(project, "push", says="Connect its drive")
    assert not drive.exists(), "nothing is made in its place"


def test_before_the_first_run_there_is_nothing_to_share(new_project, tmp_path):
    project = new_project()
    project.har("remote", str(tmp_path))
    fails(project, "pull", says="Run `make repro` and commit")
    fails(project, "push", says="Run `make repro` and commit")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "make remote URL="),
        ("ftp://host/path", "s3://, ssh://, gs://"),
        ("s3://key:secret@bucket/path", "without a password"),
        ("/no/such/folder/anywhere", "must be there"),
    ],
)
def test_a_url_that_cannot_be(finished, url, says):
    before = (finished.path / ".dvc/config").read_text()
    fails(finished, "remote", url, says=says)
    assert (finished.path / ".dvc/config").read_text() == before


def test_wrong_credentials_and_no_bucket(origin, server):
    right = origin.env["AWS_SECRET_ACCESS_KEY"]
    origin.env["AWS_SECRET_ACCESS_KEY"] = "wrong"
    fails(origin, "push", says="Correct the credentials (docs/remote.md")
    assert not [key for key in server.objects() if "test_wrong" in key]
    origin.env["AWS_SECRET_ACCESS_KEY"] = right
    config = (origin.path / ".dvc/config").read_text()
    (origin.path / ".dvc/config").write_text(config.replace(BUCKET, "nobodys-bucket"))
    fails(origin, "push", says="make remote URL=")
    (origin.path / ".dvc/config").write_text(config)
    origin.har("push")
    shutil.rmtree(origin.path / ".dvc/cache")
    (origin.path / FRAMES).unlink()  # so that there is something to pull
    origin.env["AWS_SECRET_ACCESS_KEY"] = "wrong"
    fails(origin, "pull", says="Correct the credentials (docs/remote.md")
    origin.env["AWS_SECRET_ACCESS_KEY"] = right
    origin.har("pull")
    assert_pulled(origin)


def test_a_server_that_dies_half_way(origin, server, line, tmp_path, request):
    total = (origin.path / FRAMES).stat().st_size
    line.connect(total)
    fails(origin, "push", says="run `make push` again")
    some = server.objects(request.node.name)
    line.connect()
    origin.har("push")
    assert len(server.objects(request.node.name)) > len(some)
    second = origin.clone(tmp_path / "second")
    line.connect(total)
    fails(second, "pull", says="run `make pull` again")
    line.cut()
    fails(second, "pull", says="run `make pull` again")
    line.connect()
    second.har("pull")
    assert_pulled(second)


def test_an_object_that_the_remote_lacks_or_has_damaged(origin, server, tmp_path):
    origin.har("push")
    key = stored(server, origin, FRAMES)
    data = server.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    server.s3.delete_object(Bucket=BUCKET, Key=key)
    second = origin.clone(tmp_path / "second")
    fails(second, "pull", says=f"all but {FRAMES}. Ask whoever committed dvc.lock")
    origin.har("push")
    assert server.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data
    second.har("pull")
    assert_pulled(second)

    server.s3.put_object(Bucket=BUCKET, Key=key, Body=spoil(data))
    third = origin.clone(tmp_path / "third")
    fails(third, "pull", says=f"har push --renew {FRAMES}")
    assert not (third.path / FRAMES).exists(), "damaged bytes are not checked out"
    origin.har("push", "--renew", FRAMES)
    third.har("pull")
    assert_pulled(third)


@pytest.mark.parametrize("name", [FRAMES, "models/lrcn/model.keras"])
def test_a_damaged_file_in_the_cache(origin, tmp_path, name):
    origin.har("push")
    file: Path = origin.path / name
    right = file.read_bytes()
    for link in {file, file.resolve()}:
        link.chmod(0o644)
    with file.open("r+b") as stream:  # in place: the cache shares these bytes
        stream.write(spoil(right))
    file.chmod(0o444)
    output = name if name == FRAMES else "models/lrcn"
    fails(origin, "push", says=f"{output} damaged")
    assert f"pulled anew: {output}." in origin.har("pull").stdout
    assert file.read_bytes() == right
    assert_pulled(origin)


def test_an_output_changed_by_hand_is_not_overwritten_unasked(origin):
    origin.har("push")
    table = origin.path / "data/split.csv"
    table.unlink()
    table.write_text("mine")
    fails(origin, "pull", says="har pull --force")
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
    clips = len(list((origin.path / "data/videos").rglob("*.avi")))
    # frames, tables and pictures; two models of three files and their listing
    assert len(keys) <= len(outputs(origin)) - 3 + 2 * 3, keys
    second = origin.clone(tmp_path / "second")
    told = second.har("pull").stdout
    assert "data/videos is not stored there" in told
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
        start = time.monotonic()
        assert "up to date" in finished.dvc(*command).stdout
        assert time.monotonic() - start < 3, command

import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

import https_server
import pytest
import rar_writer
from rar_writer import Entry

from har import files
from har.clips import segments
from har.datasets import ucf, ucf50, ucf101
from har.errors import UserError
from har.params import DatasetParams

PROJECT = Path(__file__).resolve().parents[2]
NEEDS_UNRAR = pytest.mark.skipif(
    importlib.util.find_spec("unrar") is None, reason="needs unrar2-cffi"
)

# Folders and file names that disagree are real.
UCF50 = {
    f"UCF50/{folder}/v_{file}_g{group:02}_c{clip:02}.avi": f"{file} {group} {clip}".encode() * 99
    for folder, file in {
        "Billiards": "Billards",
        "PullUps": "Pullup",
        "TaiChi": "TaiChi",
        "YoYo": "YoYo",
    }.items()
    for group in (1, 2, 3)
    for clip in (1, 2)
}
CLIPS = {name.removeprefix("UCF50/"): data for name, data in UCF50.items()}


def rar(files: dict[str, bytes]) -> bytes:
    folders = sorted({str(PurePosixPath(name).parent) for name in files})
    entries = [Entry(name, data) for name, data in files.items()]
    return rar_writer.write(*entries, *(Entry(name, folder=True) for name in folders))


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def clips_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def params(**changes) -> DatasetParams:
    return DatasetParams.model_validate({"name": "ucf50", "path": "videos"} | changes)


def message(raises) -> str:
    text = str(raises.value)
    assert "Received: " in text
    assert "\n" not in text
    return text


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    Path("videos/README.md").write_text("clips go here")
    return tmp_path


@pytest.fixture
def out(project) -> Path:
    return files.folder("fetch", "key")


@pytest.fixture
def hosted(server, monkeypatch):
    """UCF50's archive on a server."""
    server.files["/data/UCF50.rar"] = rar(UCF50)
    url = f"{server.url}/data/UCF50.rar"
    monkeypatch.setattr(ucf50, "SOURCE", replace(ucf50.SOURCE, url=url, known={}))
    return server


class TestTables:
    @pytest.mark.parametrize(("source", "n"), [(ucf50.SOURCE, 50), (ucf101.SOURCE, 101)])
    def test_classes(self, source, n):
        assert len(set(source.classes)) == len(source.classes) == n
        assert list(source.classes) == sorted(source.classes, key=str.lower)

    def test_tutorial_s_four(self):
        four = {"WalkingWithDog", "TaiChi", "Swing", "HorseRace"}
        assert four <= set(ucf50.SOURCE.classes)
        assert four <= set(ucf101.SOURCE.classes)

    def test_checksums_are_some(self):
        for n_bytes, sha256 in [*ucf50.SOURCE.known.values(), *ucf101.SOURCE.known.values()]:
            assert n_bytes > 0
            assert sha256 is None or len(bytes.fromhex(sha256)) == 32
        assert len(bytes.fromhex(ucf101.LISTS_SHA256)) == 32

    def test_default_downloads(self):
        for source in (ucf50.SOURCE, ucf101.SOURCE):
            assert source.url.startswith("https://")
            assert ucf.file_name(source.url) in source.known


PLACES_50 = {
    "UCF50/PullUps/v_Pullup_g01_c01.avi": "PullUps/v_Pullup_g01_c01.avi",
    "Billiards/v_Billards_g07_c02.avi": "Billiards/v_Billards_g07_c02.avi",
    "a/b/UCF50/YoYo/v_YoYo_g01_c01.AVI": "YoYo/v_YoYo_g01_c01.AVI",
    "UCF50/jumpingjack/v_JumpingJack_g01_c01.avi": "JumpingJack/v_JumpingJack_g01_c01.avi",
    "UCF50/YoYo/Thumbs.db": None,
    "UCF50/YoYo/.v_YoYo_g01_c01.avi": None,
    "__MACOSX/UCF50/YoYo/._v_YoYo_g01_c01.avi": None,
    "UCF50/.trash/YoYo/v_YoYo_g01_c01.avi": None,
    "UCF50/Other/x_YoYo_g01_c01.avi": None,
    "README.md": None,
}
PLACES_101 = {
    "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi": (
        "HandstandPushups/v_HandStandPushups_g01_c01.avi"
    ),
    "UCF-101/HandStandPushups/v_HandStandPushups_g01_c01.avi": (
        "HandstandPushups/v_HandStandPushups_g01_c01.avi"
    ),
    # The flat layout of UCF101_videos.zip.
    "UCF101/v_HandStandPushups_g01_c01.avi": "HandstandPushups/v_HandStandPushups_g01_c01.avi",
    "UCF101/v_YoYo_g25_c04.avi": "YoYo/v_YoYo_g25_c04.avi",
    "UCF101/v_Nothing_g25_c04.avi": None,
    # The folder has the last word.
    "UCF101/Archery/v_YoYo_g25_c04.avi": "Archery/v_YoYo_g25_c04.avi",
}


@pytest.mark.parametrize(
    ("source", "name", "place"),
    [(ucf50.SOURCE, *case) for case in PLACES_50.items()]
    + [(ucf101.SOURCE, *case) for case in PLACES_101.items()],
)
def test_places(source, name, place):
    assert source.place(name) == (PurePosixPath(place) if place else None)


def test_group_is_read_from_the_file_and_class_from_the_folder():
    for name in CLIPS:
        assert (segments.group_of(name) or name) in ("g01", "g02", "g03")


@NEEDS_UNRAR
class TestDownload:
    def test_clips_arrive_and_the_checksum_is_printed(self, hosted, out, capsys):
        ucf50.fetch(params(), out)
        assert clips_of(out) == CLIPS
        sha256 = hashlib.sha256(hosted.files["/data/UCF50.rar"]).hexdigest()
        assert f"UCF50.rar has the SHA-256 {sha256}. Set dataset.sha256" in capsys.readouterr().out

    def test_second_fetch_asks_for_nothing(self, hosted, out, project):
        ucf50.fetch(params(), out)
        ucf50.fetch(params(classes=["YoYo"]), project / "again")
        assert len(hosted.log) == 1
        assert {name.split("/")[0] for name in clips_of(project / "again")} == {"YoYo"}

    def test_other_bytes_than_the_known_ones_are_refused(self, hosted, out, capsys):
        sha256 = hashlib.sha256(hosted.files["/data/UCF50.rar"]).hexdigest()
        ucf50.fetch(params(sha256=sha256), out)
        assert "Set dataset.sha256" not in capsys.readouterr().out
        Path(".work/downloads/UCF50.rar").unlink()
        hosted.files["/data/UCF50.rar"] = rar(
            {**UCF50, "UCF50/YoYo/v_YoYo_g01_c01.avi": b"evil" * 99}
        )
        with pytest.raises(UserError) as raises:
            ucf50.fetch(params(sha256=sha256), out)
        assert sha256 in message(raises)
        assert not Path(".work/downloads/UCF50.rar").exists()

    def test_a_mirror_has_the_same_bytes_or_fails(self, hosted, out):
        ucf50.fetch(params(), out)
        Path(".work/downloads/UCF50.rar").unlink()
        hosted.files = {"/mirror/UCF50.rar": hosted.files["/data/UCF50.rar"]}
        ucf50.fetch(params(url=f"{hosted.url}/mirror/UCF50.rar"), out)
        assert hosted.log[-1][0] == "/mirror/UCF50.rar"
        assert clips_of(out) == CLIPS

    def test_mirror_in_another_format(self, hosted, out):
        hosted.files["/ucf50%20mirror.zip"] = zipped(UCF50)
        ucf50.fetch(params(url=f"{hosted.url}/ucf50%20mirror.zip"), out)
        assert clips_of(out) == CLIPS
        assert Path(".work/downloads/ucf50 mirror.zip").exists()

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"not an archive", "Expected a RAR or zip archive"),
            (zipped({"a/b.avi": b"1"}), "Expected the clips of UCF50"),
            (rar(UCF50)[:2000], "cut short"),
        ],
    )
    def test_checksum_of_a_wrong_file_is_not_printed(self, hosted, out, capsys, body, said):
        hosted.files["/data/UCF50.rar"] = body
        with pytest.raises(UserError) as raises:
            ucf50.fetch(params(), out)
        assert said in message(raises)
        assert "dataset.sha256" not in capsys.readouterr().out

    def test_known_checksum_stands_in_for_the_certificate(
        self, start, certificate, monkeypatch, out
    ):
        server = start(certificate)
        server.files["/UCF50.rar"] = body = rar(UCF50)
        url = f"{server.url}/UCF50.rar"
        monkeypatch.setattr(ucf50, "SOURCE", replace(ucf50.SOURCE, url=url, known={}))
        with pytest.raises(UserError, match=r"self-signed.*dataset\.sha256"):
            ucf50.fetch(params(), out)
        assert server.log == []
        ucf50.fetch(params(sha256=hashlib.sha256(body).hexdigest()), out)
        assert clips_of(out) == CLIPS

    def test_published_size_is_held_against_the_server(self, hosted, out, monkeypatch):
        known = {"UCF50.rar": (3_233_554_570, None)}
        monkeypatch.setattr(ucf50, "SOURCE", replace(ucf50.SOURCE, known=known))
        with pytest.raises(UserError, match="3,233,554,570"):
            ucf50.fetch(params(), out)
        sha256 = hashlib.sha256(hosted.files["/data/UCF50.rar"]).hexdigest()
        ucf50.fetch(params(sha256=sha256), out)
        assert clips_of(out) == CLIPS


class TestOwnFiles:
    @pytest.mark.parametrize("prefix", ["", "UCF50/", "deep/er/UCF50/"])
    def test_unpacked_folder_is_linked(self, project, out, prefix):
        for name, data in CLIPS.items():
            file = project / "own" / prefix / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        ucf50.fetch(params(path="own"), out)
        assert clips_of(out) == CLIPS
        for name in CLIPS:
            assert (out / name).samefile(project / "own" / prefix / name)

    def test_linked_class_folder_is_followed(self, project, out, capsys):
        for name, data in CLIPS.items():
            file = project / "elsewhere" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (project / "own").mkdir()
        for folder in (project / "elsewhere").iterdir():
            (project / "own" / folder.name).symlink_to(folder)
        ucf50.fetch(params(path="own"), out)
        assert clips_of(out) == CLIPS
        assert "own/YoYo is a link" in capsys.readouterr().out

    def test_interrupted_linking_is_completed(self, project, out):
        for name, data in CLIPS.items():
            file = project / "own" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        ucf50.fetch(params(path="own"), out)
        gone = next(iter(CLIPS))
        (project / "own" / gone).unlink()
        ucf50.fetch(params(path="own"), out)
        assert clips_of(out) == {name: data for name, data in CLIPS.items() if name != gone}

    @pytest.mark.parametrize("name", ["UCF50.zip", "ucf-50.zip", "UCF50_dataset.zip"])
    @pytest.mark.parametrize("folder", ["own", "videos"])
    def test_folder_with_the_archive(self, project, out, name, folder):
        (project / folder).mkdir(exist_ok=True)
        (project / folder / name).write_bytes(zipped(UCF50))
        (project / folder / "UCF101.zip").write_bytes(b"another")
        ucf50.fetch(params(path=folder), out)
        assert clips_of(out) == CLIPS

    @pytest.mark.parametrize("name", ["UCF50.rar", "anything.bin"])
    def test_archive_of_any_name(self, project, out, monkeypatch, name):
        monkeypatch.setattr(ucf50, "SOURCE", replace(ucf50.SOURCE, known={}))
        (project / name).write_bytes(zipped(UCF50))
        ucf50.fetch(params(path=name), out)
        assert clips_of(out) == CLIPS

    def test_half_an_archive_is_told_by_its_size(self, project, out):
        (project / "UCF50.rar").write_bytes(zipped(UCF50))
        with pytest.raises(UserError, match="3,233,554,570 bytes"):
            ucf50.fetch(params(path="UCF50.rar"), out)

    def test_archive_that_differs_from_the_known_one(self, project, out):
        (project / "a.zip").write_bytes(body := zipped(UCF50))
        sha256 = hashlib.sha256(body).hexdigest()
        with pytest.raises(UserError, match="Expected SHA-256") as raises:
            ucf50.fetch(params(path="a.zip", sha256="0" * 64), out)
        assert sha256 in message(raises)
        ucf50.fetch(params(path="a.zip", sha256=sha256), out)
        assert clips_of(out) == CLIPS

    def test_known_archive_of_the_right_size_and_wrong_bytes(self, project, out, monkeypatch):
        (project / "a.zip").write_bytes(body := zipped(UCF50))
        known = {"a.zip": (len(body), "0" * 64)}
        monkeypatch.setattr(ucf50, "SOURCE", replace(ucf50.SOURCE, known=known))
        with pytest.raises(UserError, match="Expected SHA-256 0000"):
            ucf50.fetch(params(path="a.zip"), out)

    def test_subset(self, project, out):
        (project / "a.zip").write_bytes(zipped(UCF50))
        ucf50.fetch(params(path="a.zip", classes=["TaiChi", "PullUps"]), out)
        assert {path.name for path in out.iterdir()} == {"TaiChi", "PullUps"}

    def test_unknown_class_is_told_before_any_work(self, out):
        with pytest.raises(UserError) as raises:
            ucf50.fetch(params(classes=["TaiChi", "Taichi", "Yoga"]), out)
        assert "Received: Taichi, Yoga." in message(raises)
        assert "WalkingWithDog" in message(raises)

    def test_class_that_the_archive_lacks(self, project, out):
        (project / "a.zip").write_bytes(zipped(UCF50))
        with pytest.raises(UserError, match=r"Billiards, PullUps, TaiChi, YoYo.*Received: Swing"):
            ucf50.fetch(params(path="a.zip", classes=["Swing"]), out)

    def test_a_clip_twice(self, project, out):
        for folder in ("one", "two"):
            (project / "own" / folder / "YoYo").mkdir(parents=True)
            (project / "own" / folder / "YoYo" / "a.avi").write_bytes(b"1")
        with pytest.raises(UserError, match="each clip once"):
            ucf50.fetch(params(path="own"), out)

    @pytest.mark.parametrize(
        ("path", "said"), [("nowhere", "does not exist"), ("empty", "holds neither")]
    )
    def test_path_that_holds_nothing(self, project, out, path, said):
        (project / "empty").mkdir()
        with pytest.raises(UserError) as raises:
            ucf50.fetch(params(path=path), out)
        assert said in message(raises)


LISTS = {
    "ucfTrainTestlist/classInd.txt": "1 Archery\r\n2 HandstandPushups\r\n",
    "ucfTrainTestlist/trainlist01.txt": (
        "Archery/v_Archery_g02_c01.avi 1\r\nArchery/v_Archery_g03_c01.avi 1\r\n"
        "HandstandPushups/v_HandStandPushups_g02_c01.avi 2\r\n"
        "HandstandPushups/v_HandStandPushups_g03_c01.avi 2\r\n"
    ),
    "ucfTrainTestlist/testlist01.txt": (
        "Archery/v_Archery_g01_c01.avi\r\nHandstandPushups/v_HandStandPushups_g01_c01.avi\r\n"
    ),
    "ucfTrainTestlist/trainlist02.txt": "Archery/v_Archery_g01_c01.avi 1\n",
    "ucfTrainTestlist/testlist02.txt": (
        "Archery/v_Archery_g02_c01.avi\nHandStandPushups/v_HandStandPushups_g02_c01.avi\n"
    ),
    "ucfTrainTestlist/trainlist03.txt": "Archery/v_Archery_g01_c01.avi 1\n",
    "ucfTrainTestlist/testlist03.txt": "HandstandPushups/v_HandstandPushups_g03_c01.avi\n",
}
TEXTS = {PurePosixPath(name).name: text for name, text in LISTS.items() if "list0" in name}
UCF101 = {
    f"UCF-101/{folder}/v_{file}_g{group:02}_c01.avi": f"{file} {group}".encode() * 9
    for folder, file in {"Archery": "Archery", "HandstandPushups": "HandStandPushups"}.items()
    for group in (1, 2, 3, 4)
}
ROWS = [
    ("Archery/v_Archery_g01_c01.avi", "test", "train", "train"),
    ("Archery/v_Archery_g02_c01.avi", "train", "test", ""),
    ("Archery/v_Archery_g03_c01.avi", "train", "", ""),
    ("Archery/v_Archery_g04_c01.avi", "", "", ""),
    ("HandstandPushups/v_HandStandPushups_g01_c01.avi", "test", "", ""),
    ("HandstandPushups/v_HandStandPushups_g02_c01.avi", "train", "test", ""),
    ("HandstandPushups/v_HandStandPushups_g03_c01.avi", "train", "", "test"),
    ("HandstandPushups/v_HandStandPushups_g04_c01.avi", "", "", ""),
]


class TestOfficial:
    def test_rows(self):
        assert ucf101.rows([row[0] for row in ROWS], TEXTS) == ROWS

    def test_another_container(self):
        assert ucf101.rows(["Archery/v_Archery_g01_c01.mp4"], TEXTS)[0][1:] == ROWS[0][1:]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"trainlist01.txt": "Archery/v_Archery_g01_c01.avi 1"}, "on both"),
            ({"trainlist01.txt": "v_Archery_g01_c01.avi 1"}, "Expected lines"),
            ({"testlist03.txt": None}, "testlist03.txt"),
            (dict.fromkeys(TEXTS, "Other/x.avi"), "on both"),
            (dict.fromkeys(TEXTS, ""), "none of them listed"),
        ],
    )
    def test_lists_that_cannot_be(self, changes, said):
        texts = {name: text for name, text in (TEXTS | changes).items() if text is not None}
        with pytest.raises(UserError) as raises:
            ucf101.rows([row[0] for row in ROWS], texts)
        assert said in message(raises)

    def test_download(self, server, monkeypatch, out):
        lists, videos = zipped(LISTS), zipped(UCF101)
        name = "UCF101TrainTestSplits-RecognitionTask.zip"
        server.files = {f"/{name}": lists, "/UCF101_videos.zip": videos}
        monkeypatch.setattr(ucf101, "LISTS_SHA256", hashlib.sha256(lists).hexdigest())
        monkeypatch.setattr(ucf101, "LISTS_URL", f"{server.url}/{name}")
        url = f"{server.url}/UCF101_videos.zip"
        monkeypatch.setattr(ucf101, "SOURCE", replace(ucf101.SOURCE, url=url, known={}))
        ucf101.fetch(params(name="ucf101"), out)
        assert ucf101.official_splits(params(name="ucf101"), out) == ROWS
        assert len(server.log) == 2
        assert sorted(path.name for path in Path(".work/downloads").iterdir()) == [
            name,
            "UCF101_videos.zip",
        ]

    def test_lists_beside_one_s_own_clips_need_no_network(self, project, out):
        (project / "UCF101.zip").write_bytes(zipped(UCF101))
        (project / "UCF101TrainTestSplits-RecognitionTask.zip").write_bytes(zipped(LISTS))
        ucf101.fetch(params(name="ucf101", path="UCF101.zip"), out)
        rows = ucf101.official_splits(params(name="ucf101", path="UCF101.zip"), out)
        assert rows == ROWS

    def test_lists_out_of_reach(self, server, monkeypatch, out):
        monkeypatch.setattr(ucf101, "LISTS_URL", f"{server.url}/lists.zip")
        with pytest.raises(UserError) as raises:
            ucf101.fetch(params(name="ucf101"), out)
        assert message(raises).endswith("put the file lists.zip at videos/lists.zip.")

    def test_lists_in_the_folder_of_the_archive_are_not_taken_for_it(self, project, out):
        (project / "own").mkdir()
        (project / "own/UCF101.zip").write_bytes(zipped(UCF101))
        (project / "own/UCF101TrainTestSplits-RecognitionTask.zip").write_bytes(zipped(LISTS))
        ucf101.fetch(params(name="ucf101", path="own"), out)
        assert len(clips_of(out)) == len(UCF101)


class TestStage:
    """stages/fetch.py as DVC runs it."""

    def run(self, project: Path, **dataset) -> subprocess.CompletedProcess:
        process = self.start(project, **dataset)
        out, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def start(self, project: Path, **dataset) -> subprocess.Popen:
        text = (PROJECT / "params.yaml").read_text(encoding="utf-8")
        section = {"name": "ucf50", "classes": [], "path": "videos"} | dataset
        before, after = text.split("dataset:", 1)
        rest = after[after.index("\nframes:") :]
        (project / "params.yaml").write_text(f"{before}dataset: {json.dumps(section)}{rest}")
        return subprocess.Popen(
            [sys.executable, PROJECT / "stages/fetch.py"],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def test_ucf50_has_the_header_of_official_csv_alone(self, project):
        (project / "a.zip").write_bytes(zipped(UCF50))
        done = self.run(project, path="a.zip")
        assert done.returncode == 0, done.stderr
        assert clips_of(project / "data/fetched") == CLIPS
        assert (project / "data/official.csv").read_text() == (
            "clip,official_1,official_2,official_3\n"
        )
        assert "24 clips of 4 classes" in done.stdout

    def test_ucf101_has_its_rows(self, project):
        (project / "UCF101.zip").write_bytes(zipped(UCF101))
        (project / "UCF101TrainTestSplits-RecognitionTask.zip").write_bytes(zipped(LISTS))
        done = self.run(project, name="ucf101", path="UCF101.zip")
        assert done.returncode == 0, done.stderr
        lines = (project / "data/official.csv").read_text().splitlines()
        assert lines[1:] == [",".join(row) for row in ROWS]

    def test_download_by_url_then_again(self, project, server):
        server.files["/m/UCF50.zip"] = zipped(UCF50)
        done = self.run(project, url=f"{server.url}/m/UCF50.zip")
        assert done.returncode == 0, done.stderr
        done = self.run(project, url=f"{server.url}/m/UCF50.zip", classes=["YoYo"])
        assert done.returncode == 0, done.stderr
        assert len(server.log) == 1
        assert [path.name for path in (project / "data/fetched").iterdir()] == ["YoYo"]

    def test_kill_9_while_downloading(self, project, server):
        server.files["/m/UCF50.zip"] = zipped(UCF50)
        server.faults = [https_server.Fault(drop_after=4000, stall=True)]
        process = self.start(project, url=f"{server.url}/m/UCF50.zip")
        deadline = time.monotonic() + 20
        while not server.bodies and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert not (project / "data").exists()
        done = self.run(project, url=f"{server.url}/m/UCF50.zip")
        assert done.returncode == 0, done.stderr
        assert clips_of(project / "data/fetched") == CLIPS
        assert [path.name for path in (project / ".work/downloads").iterdir()] == ["UCF50.zip"]

    def test_mistake_is_one_line(self, project):
        done = self.run(project, path="nowhere")
        assert done.returncode == 2
        assert done.stderr.startswith("Error: dataset.path: expected UCF50")
        assert len(done.stderr.splitlines()) == 1
        assert not (project / "data/fetched").exists()

    def test_groups_are_told(self, project):
        for name in ("Jump/anna-1.avi", "Jump/anna-2.avi", "Run/ben-1.avi"):
            (project / "own" / name).parent.mkdir(parents=True, exist_ok=True)
            (project / "own" / name).write_bytes(name.encode())
        done = self.run(project, name="folder", path="own")
        assert done.returncode == 0, done.stderr
        assert "3 clips of 2 classes from folder" in done.stdout
        assert "Warning: 3 clips in 3 groups: no name tells a group." in done.stdout
        done = self.run(project, name="folder", path="own", group_pattern="^([a-z]+)-")
        assert done.stdout.endswith("3 clips in 2 groups\n")

    @pytest.mark.parametrize("pattern", ["^anna", "(a)(b)", "(", ""])
    def test_pattern_without_one_group_is_one_line(self, project, pattern):
        done = self.run(project, name="folder", group_pattern=pattern)
        assert done.returncode == 2
        assert "dataset.group_pattern: expected a regular expression with one group" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    @pytest.mark.parametrize("sha256", ["12", "g" * 64])
    def test_checksum_that_is_none_is_one_line(self, project, sha256):
        done = self.run(project, sha256=sha256)
        assert done.returncode == 2
        assert "dataset.sha256: expected" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_table(self, project):
        (project / "own").mkdir()
        (project / "own/a.avi").write_bytes(b"a film")
        (project / "own/clips.csv").write_text("path,class,group\na.avi,Jump,anna\n")
        done = self.run(project, name="table", path="own/clips.csv")
        assert done.returncode == 0, done.stderr
        assert "1 clips of 1 classes from table\n1 clips in 1 groups" in done.stdout
        assert clips_of(project / "data/fetched") == {
            "_sources/a.avi": b"a film",
            "segments.csv": (
                b"clip,class,group,source,start,end,fold,row\n"
                b"Jump/a.avi,Jump,anna,_sources/a.avi,0,,,2\n"
            ),
        }

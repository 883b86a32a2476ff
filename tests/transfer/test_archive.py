import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
import rar_writer
from rar_writer import Entry

from har.errors import UserError
from har.transfer import archive
from har.transfer.archive import Archive

RARS = Path(__file__).parents[1] / "data" / "rarfile"
FILES = {"UCF50/Punch/a.avi": b"a" * 5000, "UCF50/TaiChi/b.avi": b"b" * 70_000, "UCF50/c.txt": b""}


def everything(name: str) -> PurePosixPath:
    return PurePosixPath(name)


def unpacked(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if not path.is_dir())
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def message(raises) -> str:
    text = str(raises.value)
    assert "Received: " in text
    assert "\n" not in text
    return text


def make_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)


def make_rar(path: Path, files: dict[str, bytes]) -> None:
    path.write_bytes(rar_writer.write(*(Entry(name, data) for name, data in files.items())))


MAKERS = {"zip": make_zip, "rar": make_rar}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def make(request) -> Callable[[Path, dict[str, bytes]], None]:
    return request.param


# By the bytes, not by the name: the file is always called `.rar`.
def test_all_formats_give_the_same_files(make, tmp_path):
    make(tmp_path / "UCF50.rar", FILES)
    Archive(tmp_path / "UCF50.rar").unpack(tmp_path / "out", everything)
    assert unpacked(tmp_path / "out") == FILES


def test_only_wanted_files_are_written_where_they_are_wanted(make, tmp_path):
    make(tmp_path / "a", FILES)
    found = Archive(tmp_path / "a").unpack(
        tmp_path / "out", lambda name: PurePosixPath("x/y.avi") if "TaiChi" in name else None
    )
    assert found == [PurePosixPath("x/y.avi")]
    assert unpacked(tmp_path / "out") == {"x/y.avi": b"b" * 70_000}


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_cut_short_archive_leaves_nothing_that_looks_whole(make, tmp_path, cut):
    files = {f"Punch/{i}.avi": os.urandom(20_000) for i in range(5)}
    make(tmp_path / "a", files)
    whole = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(UserError) as raises:
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
    assert "cut short" in message(raises)
    for name, data in unpacked(tmp_path / "out").items():
        assert name.startswith(archive.UNFINISHED) or data == files[name]


@pytest.mark.parametrize("maker", [make_zip, make_rar])
def test_one_wrong_byte_is_noticed(maker, tmp_path):
    data = os.urandom(50_000)
    maker(tmp_path / "a", {"Punch/a.avi": data})
    damaged = bytearray((tmp_path / "a").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "a").write_bytes(damaged)
    with pytest.raises(UserError, match=r"Received: .*damaged"):
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
    assert not (tmp_path / "out/Punch/a.avi").exists()


NOT_ARCHIVES = {
    "empty": (b"", "an empty file"),
    "page": (b"\n<!DOCTYPE html><title>404", "a web page"),
    "page 2": (b"<html><body>", "a web page"),
    "video": (b"RIFF\x00\x00\x00\x00AVI LIST", "begins with b'RIFF"),
    "words": (b"not found", "begins with b'not foun"),
}


@pytest.mark.parametrize(("data", "said"), NOT_ARCHIVES.values(), ids=NOT_ARCHIVES)
def test_what_is_no_archive(tmp_path, data, said):
    (tmp_path / "UCF50.rar").write_bytes(data)
    with pytest.raises(UserError) as raises:
        Archive(tmp_path / "UCF50.rar")
    assert said in message(raises)


TRAVERSALS = {
    "parent": "../out.avi",
    "inner parent": "Punch/../../out.avi",
    "absolute": "/etc/out.avi",
    "backslash": "Punch\\..\\..\\out.avi",
    "drive": "C:/out.avi",
    "drive relative": "c:out.avi",
    "stream": "Punch/a.avi:evil",
    "newline": "Punch/a\n.avi",
    "dot": ".",
}


@pytest.mark.parametrize("maker", [make_zip, make_rar], ids=["zip", "rar"])
@pytest.mark.parametrize("name", TRAVERSALS.values(), ids=TRAVERSALS)
def test_names_that_lead_outside_are_refused(tmp_path, maker, name):
    inside = tmp_path / "x" / "y"
    inside.mkdir(parents=True)
    maker(inside / "a", {"Punch/good.avi": b"good", name: b"evil"})
    with pytest.raises(UserError) as raises:
        Archive(inside / "a").unpack(inside / "out", everything)
    assert "Nothing was unpacked" in message(raises)
    assert sorted(unpacked(tmp_path)) == ["x/y/a"]


COLLISIONS = {
    "case": ("Punch/a.avi", "Punch/A.avi"),
    "case of folder": ("Punch/a.avi", "punch/a.avi"),
    "same": ("Punch/a.avi", "Punch/a.avi"),
    "dot": ("Punch/a.avi", "Punch/./a.avi"),
    "slashes": ("Punch/a.avi", "Punch//a.avi"),
    "accents' coding": ("Punch/\u00e9.avi", "Punch/e\u0301.avi"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", COLLISIONS.values(), ids=COLLISIONS)
def test_collisions_are_refused(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "a", "w") as file:
        for name in names:
            file.writestr(name, b"1")
    with pytest.raises(UserError) as raises:
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
    assert "Nothing was unpacked" in message(raises)
    assert not (tmp_path / "out").exists()


def test_two_files_with_one_place_are_refused(tmp_path):
    make_zip(tmp_path / "a", {"x/Punch/a.avi": b"1", "y/Punch/a.avi": b"2"})
    with pytest.raises(UserError, match="one file for "):
        Archive(tmp_path / "a").unpack(tmp_path / "out", lambda name: PurePosixPath("a.avi"))


def test_ordinary_names_are_not_refused(tmp_path):
    files = {"./a/b.avi": b"1", "a/..b.avi": b"2", "a/b...avi": b"3", "ä/ß ẞ.avi": b"4"}
    make_zip(tmp_path / "a", files)
    Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
    assert sorted(unpacked(tmp_path / "out").values()) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("mode", "said"),
    [(stat.S_IFLNK, "a link"), (stat.S_IFCHR, "a device"), (stat.S_IFIFO, "a dev")],
)
def test_links_and_devices_in_zip_are_refused(tmp_path, mode, said):
    with zipfile.ZipFile(tmp_path / "a", "w") as file:
        info = zipfile.ZipInfo("Punch")
        info.external_attr = (mode | 0o777) << 16
        file.writestr(info, "/etc")
    with pytest.raises(UserError, match=said):
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)


def test_encrypted_zip_is_refused(tmp_path):
    make_zip(tmp_path / "a", {"Punch/a.avi": b"1"})
    data = bytearray((tmp_path / "a").read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(UserError, match="an encrypted file"):
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)


class TestSizes:
    def test_member_longer_than_it_claims(self, tmp_path):
        make_zip(tmp_path / "a", {"Punch/a.avi": bytes(100_000)})
        data = bytearray((tmp_path / "a").read_bytes())
        at = data.index(b"PK\x01\x02") + 24  # the unpacked size in the directory
        data[at : at + 4] = (10).to_bytes(4, "little")
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(UserError, match="Received: "):
            Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
        assert not (tmp_path / "out/Punch/a.avi").exists()

    def test_rar_member_larger_than_the_disk(self, tmp_path):
        (tmp_path / "a").write_bytes(rar_writer.write(Entry("a.avi", b"1", claims=1 << 50)))
        with pytest.raises(UserError, match="free on the disk"):
            Archive(tmp_path / "a").unpack(tmp_path / "out", everything)


class TestDisk:
    def test_full_before(self, tmp_path, monkeypatch):
        make_zip(tmp_path / "a", FILES)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 70_000))
        with pytest.raises(UserError) as raises:
            Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
        assert "free on the disk" in message(raises)

    @pytest.mark.parametrize("maker", [make_zip, make_rar])
    def test_disk_that_fills_up_in_the_midst(self, tmp_path, maker, small_disk, monkeypatch):
        monkeypatch.setattr(archive, "check_free", lambda *_: None)
        files = {f"Punch/{i}.avi": bytes([i]) * 100_000 for i in range(5)}
        maker(tmp_path / "a", files)
        with pytest.raises(OSError, match="No space left on device"):
            Archive(tmp_path / "a").unpack(small_disk / "out", everything)
        for name, data in unpacked(small_disk / "out").items():
            assert name.startswith(archive.UNFINISHED) or data == files[name]

    @pytest.mark.parametrize("maker", [make_zip, make_rar])
    def test_quota_in_the_midst(self, tmp_path, maker):
        maker(tmp_path / "a", FILES)
        run = """
import resource, sys
from har.errors import run
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
run(unpack)
"""
        done = subprocess.run(
            [sys.executable, "-c", UNPACK + run, tmp_path / "a", tmp_path / "out"],
            capture_output=True,
            text=True,
            env=environment(),
        )
        assert done.returncode == 2
        assert "Error: File too large" in done.stderr.strip().splitlines()[-1]
        assert not (tmp_path / "out/UCF50/TaiChi/b.avi").exists()
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
        assert unpacked(tmp_path / "out") == FILES


UNPACK = """
import sys
from pathlib import Path, PurePosixPath
from har.transfer import archive
def unpack():
    archive.Archive(Path(sys.argv[1])).unpack(Path(sys.argv[2]), PurePosixPath)
"""


def environment() -> dict[str, str]:
    root = Path(archive.__file__).parents[2]
    return os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}


MANY = {f"Punch/{i:02}.avi": hashlib.sha256(b"%d" % i).digest() * 3000 for i in range(20)}


class TestKilled:
    @pytest.mark.parametrize("maker", [make_zip, make_rar])
    def test_kill_9_and_again(self, tmp_path, maker):
        maker(tmp_path / "a", MANY)
        slow = "import time; archive.tqdm.update = lambda bar, n: time.sleep(0.02)\nunpack()"
        command = [sys.executable, "-c", UNPACK + slow, tmp_path / "a", tmp_path / "out"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment())
        deadline = time.monotonic() + 20
        while len(list(tmp_path.glob("out/*/*"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
        process.wait()
        left = {k: v for k, v in unpacked(tmp_path / "out").items() if k.startswith("Punch")}
        assert left.items() <= MANY.items()
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
        assert unpacked(tmp_path / "out") == MANY

    def test_what_is_there_is_not_written_again(self, tmp_path):
        make_zip(tmp_path / "a", MANY)
        Archive(tmp_path / "a")._begin(tmp_path / "out", tmp_path / "out" / archive.UNFINISHED)
        there = tmp_path / "out/Punch/07.avi"
        there.parent.mkdir()
        there.write_bytes(MANY["Punch/07.avi"])
        before = there.stat().st_ino
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
        assert there.stat().st_ino == before
        assert unpacked(tmp_path / "out") == MANY

    def test_another_archive_starts_afresh(self, tmp_path):
        (tmp_path / "out/Punch").mkdir(parents=True)
        (tmp_path / "out/Punch/07.avi").write_bytes(b"x" * len(MANY["Punch/07.avi"]))
        make_zip(tmp_path / "a", MANY)
        Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
        assert unpacked(tmp_path / "out") == MANY


REAL = {
    "rar3-subdirs": 4,
    "rar5-subdirs": 4,
    "rar3-solid": 2,
    "rar5-solid": 2,
    "rar5-solid-qo": 4,
    "rar5-crc": 2,
    "rar5-blake": 2,
    "seektest": 2,
    "unicode": 2,
}


class TestRar:
    @pytest.fixture(autouse=True)
    def _here(self, tmp_path, monkeypatch):
        pytest.importorskip("unrar", reason="needs unrar2-cffi")
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize("name", REAL)
    def test_real_archives(self, tmp_path, name):
        Archive(RARS / f"{name}.rar").unpack(tmp_path / "out", everything)
        files = unpacked(tmp_path / "out")
        assert len(files) == REAL[name]
        if "subdirs" in name:
            assert {file: len(data) for file, data in files.items()} == {
                "sub/dir1/file1.txt": 6,
                "sub/dir2/file2.txt": 6,
                "sub/with space/long fn.txt": 8,
                "sub/üȵĩöḋè/file.txt": 5,
            }
        elif name != "unicode":
            # All hold copies of one file of 2048 bytes with this CRC-32 (rarfile's listing).
            assert {zlib.crc32(data) for data in files.values()} == {0xC5B7E6A2}

    @pytest.mark.parametrize("name", ["rar5-solid", "rar3-solid", "rar5-solid-qo"])
    def test_one_file_of_a_solid_archive(self, tmp_path, name):
        only = Archive(RARS / f"{name}.rar").unpack(
            tmp_path / "out", lambda n: PurePosixPath("x") if n == "stest2.txt" else None
        )
        assert only == [PurePosixPath("x")]
        assert len((tmp_path / "out/x").read_bytes()) == 2048

    @pytest.mark.parametrize(
        "name", ["symlink-unix", "symlink-win", "hlink", "evil-symlink-traversal", "psw", "hpsw"]
    )
    def test_refused_archives(self, tmp_path, name):
        with pytest.raises(UserError) as raises:
            Archive(RARS / f"rar5-{name}.rar").unpack(tmp_path / "out", everything)
        assert "\n" not in str(raises.value)
        found = unpacked(tmp_path / "out")
        assert [name for name in found if not name.startswith(archive.UNFINISHED)] == []
        # Nothing beside the folders that are ours.
        assert {path.name for path in tmp_path.iterdir()} <= {"out", ".work"}

    def test_old_link(self, tmp_path):
        with pytest.raises(UserError, match="'data_link', a link"):
            Archive(RARS / "rar3-symlink-unix.rar").unpack(tmp_path / "out", everything)

    def test_written_archive(self, tmp_path):
        make_rar(tmp_path / "UCF50.rar", FILES)
        Archive(tmp_path / "UCF50.rar").unpack(tmp_path / "out", everything)
        assert unpacked(tmp_path / "out") == FILES

    def test_link_out_of_the_folder(self, tmp_path):
        evil = rar_writer.write(Entry("up", link="../.."), Entry("up/evil.avi", b"evil"))
        (tmp_path / "a").write_bytes(evil)
        with pytest.raises(UserError, match="'up', a link"):
            Archive(tmp_path / "a").unpack(tmp_path / "out", everything)

    @pytest.mark.parametrize("cut", [30, 120, 400])
    def test_half_an_archive(self, tmp_path, cut):
        whole = rar_writer.write(Entry("a.avi", b"a" * 50), Entry("b.avi", b"b" * 500))
        (tmp_path / "a").write_bytes(whole[:cut])
        with pytest.raises(UserError):
            Archive(tmp_path / "a").unpack(tmp_path / "out", everything)
        assert not (tmp_path / "out/b.avi").exists()

    def test_half_a_volume(self, tmp_path):
        first = Entry("Punch/a.avi", b"a" * 1000, goes_on=True, claims=2000)
        (tmp_path / "UCF50.part1.rar").write_bytes(rar_writer.write(first, volume=0))
        with pytest.raises(UserError, match="part"):
            Archive(tmp_path / "UCF50.part1.rar").unpack(tmp_path / "out", everything)
        assert not (tmp_path / "out/Punch/a.avi").exists()


@pytest.mark.parametrize("pieces", [(1000, 1000), (700, 600, 700)])
def test_volumes_by_unrar(tmp_path, pieces):
    pytest.importorskip("har.transfer.rar", reason="needs unrar2-cffi")
    data, small = os.urandom(sum(pieces)), b"small"
    starts = [sum(pieces[:i]) for i in range(len(pieces))]
    for i, (start, size) in enumerate(zip(starts, pieces, strict=True)):
        last = i == len(pieces) - 1
        part = data[start : start + size]
        entry = Entry(
            "Punch/a.avi",
            part,
            goes_on=not last,
            continued=i > 0,
            claims=len(data),
            crc=zlib.crc32(data if last else part),
        )
        entries = [entry, Entry("Punch/b.avi", small)] if last else [entry]
        volume = rar_writer.write(*entries, volume=i, more=not last)
        (tmp_path / f"UCF50.part{i + 1}.rar").write_bytes(volume)
    Archive(tmp_path / "UCF50.part1.rar").unpack(tmp_path / "out", everything)
    assert unpacked(tmp_path / "out") == {"Punch/a.avi": data, "Punch/b.avi": small}
    with pytest.raises(UserError, match="a later volume of several; name the first"):
        Archive(tmp_path / "UCF50.part2.rar").unpack(tmp_path / "out2", everything)


def test_without_the_reader(tmp_path, monkeypatch):
    make_rar(tmp_path / "a", FILES)
    monkeypatch.setitem(sys.modules, "har.transfer.rar", None)
    with pytest.raises(UserError, match=r"unrar2-cffi.*is not installed.*dataset.path"):
        Archive(tmp_path / "a")

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from har import files
from har.clips import extraction, store, video
from har.clips.store import FrameStore
from har.errors import UserError

SHAPE = (4, 16, 32)
VIDEOS = Path("data/videos")
OUTPUT = Path("data/frames.h5")
DRIVER = """
import sys
from pathlib import Path
from har.clips import extraction
extraction.extract(Path("data/videos"), (4, 16, 32), Path("data/frames.h5"), n_jobs=2)
"""


@pytest.fixture
def add_clips(in_tmp_path, write_video, coded_frames):
    """Write clips below data/videos; the n-th has 5 + n frames that start at index 10·n."""

    def add(*names: str) -> None:
        for name in names:
            n = int(name[-6:-4])
            write_video(VIDEOS / name, coded_frames(10 * n + 5 + n)[10 * n :])

    return add


def clip_name(label: str, group: int, clip: int) -> str:
    return f"{label}/v_{label}_g{group:02}_c{clip:02}.avi"


RUN = [clip_name("Run", 1, 1), clip_name("Run", 1, 2), clip_name("Run", 2, 3)]
JUMP = [clip_name("Jump", 1, 4), clip_name("Jump", 2, 5)]


def extract(n_jobs: int = 1, shape: tuple[int, int, int] = SHAPE):
    return extraction.extract(VIDEOS, shape, OUTPUT, n_jobs=n_jobs)


def stored() -> dict[str, np.ndarray]:
    with FrameStore(OUTPUT) as frames:
        return dict(zip(frames.clips, frames.read(frames.clips)[0], strict=True))


def spoil_pixels(path: Path, offset: int) -> None:
    """Mark stored frames, to see later whether they were kept or decoded anew."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x7b" * 10)


def is_spoilt(frames: np.ndarray) -> bool:
    return bytes(frames.ravel()[:10]) == b"\x7b" * 10


def offset_of(clip: str) -> int:
    with h5py.File(OUTPUT) as file:
        row = [name.decode() for name in file["clip"][:]].index(clip)
        return file["frames"].id.get_chunk_info_by_coord((row, 0, 0, 0, 0)).byte_offset


@pytest.mark.parametrize(
    ("clip", "group"),
    [
        ("Billiards/v_Billards_g07_c02.avi", "g07"),
        ("HorseRace/v_HorseRace_g25_c13.avi", "g25"),
        ("A/v_A_g1_c1.mp4", "g1"),
        ("Jumping/holiday.mp4", "Jumping/holiday.mp4"),
        ("v_A_g01_c01/x.avi", "v_A_g01_c01/x.avi"),
        ("A/deep/v_A_g03_c01.avi", "g03"),
        ("A/bg03_c01.avi", "A/bg03_c01.avi"),
        ("A/v_A_g03_c01_copy.avi", "A/v_A_g03_c01_copy.avi"),
        ("A/v_A_g03.avi", "A/v_A_g03.avi"),
    ],
)
def test_group_is_read_from_ucf_names_alone(clip, group):
    assert extraction.group_of(clip) == group


def test_rows_are_in_the_order_of_the_clips_and_hold_their_frames(add_clips, read_indices):
    add_clips(*RUN, *JUMP)
    clips, rejected = extract()
    assert rejected == []
    assert [clip.clip for clip in clips] == sorted(RUN + JUMP)
    with FrameStore(OUTPUT) as frames:
        assert frames.clips == sorted(RUN + JUMP)
        assert frames.classes == ["Jump", "Run"]
        assert frames.labels.tolist() == [0, 0, 1, 1, 1]
        assert frames.shape == SHAPE
        for clip in clips:
            n = int(clip.clip[-6:-4])
            pixels, _ = frames.read([clip.clip])
            expected = 10 * n + video.even_indices(5 + n, 4)
            assert read_indices(pixels[0]) == expected.tolist()
            assert clip == store.Clip(
                clip.clip,
                clip.clip.split("/")[0],
                clip.clip[-11:-8],
                files.file_sha256(VIDEOS / clip.clip),
                5 + n,
                25.0,
                64,
                32,
            )


def test_the_table_of_clips_does_not_depend_on_the_frames_that_are_kept(add_clips):
    add_clips(*RUN, *JUMP)
    few = extract(shape=(2, 16, 16))
    assert extract(shape=(7, 24, 32)) == few
    assert stored()[RUN[0]].shape == (7, 24, 32, 3)


def run_driver(folder: Path, **options) -> subprocess.Popen:
    path = os.pathsep.join([str(Path(extraction.__file__).parents[2]), *sys.path[1:]])
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        **options,
    )


def test_bytes_are_the_same_with_one_process_or_two_here_or_elsewhere(
    add_clips, write_jpegs, tmp_path, monkeypatch
):
    add_clips(*RUN, *JUMP)
    # The first of all clips takes longest, so that others finish before it.
    write_jpegs(VIDEOS / "Climb/v_Climb_g01_c01.mjpeg", [np.zeros((720, 1280, 3), np.uint8)] * 30)
    clips, _ = extract()
    elsewhere = tmp_path / "else where"
    shutil.copytree(VIDEOS, elsewhere / VIDEOS)
    time.sleep(1)  # HDF5 notes times in whole seconds
    assert run_driver(elsewhere).wait(timeout=60) == 0
    assert (elsewhere / OUTPUT).read_bytes() == OUTPUT.read_bytes()
    monkeypatch.chdir(elsewhere)
    assert extract() == (clips, [])


def test_two_processes_work_in_any_working_directory(add_clips, tmp_path, monkeypatch):
    add_clips(*RUN, *JUMP)
    first = extract(n_jobs=2)
    pixels = stored()
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(VIDEOS, elsewhere / VIDEOS)
    monkeypatch.chdir(elsewhere)
    assert extract(n_jobs=2) == first
    for name, frames in stored().items():
        np.testing.assert_array_equal(frames, pixels[name], name)


def test_a_killed_run_goes_on_where_it_stopped(add_clips, write_jpegs, in_tmp_path, monkeypatch):
    add_clips(*RUN, *JUMP)
    # Quick to write, slow to decode: the run is killed while it is at this one, in the middle.
    write_jpegs(VIDEOS / "Lift/slow.mjpeg", [np.zeros((1080, 1920, 3), np.uint8)] * 100)
    killed, marked = in_tmp_path / "killed", in_tmp_path / "marked"
    shutil.copytree(VIDEOS, killed / VIDEOS)
    expected = extract()
    unbroken = OUTPUT.read_bytes()

    process = run_driver(killed, start_new_session=True)
    lines: list[str] = []
    deadline = time.monotonic() + 60
    while len(lines) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
        for journal in killed.glob(".work/extract/*/*.jsonl"):
            lines = journal.read_text().splitlines()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(lines) >= 3
    assert not (killed / OUTPUT).exists()
    shutil.copytree(killed, marked)

    monkeypatch.chdir(killed)
    assert extract() == expected
    assert OUTPUT.read_bytes() == unbroken

    # What the killed run had decoded is not decoded again: a mark in its pixels stays.
    monkeypatch.chdir(marked)
    [journal] = Path(".work/extract").glob("*/*.jsonl")
    done = [json.loads(line) for line in journal.read_text().splitlines()[1:] if line[-1:] == "]"]
    assert 1 <= len(done) < 6
    for _, offset, *_ in done:
        spoil_pixels(journal.with_suffix(".h5"), offset)
    assert extract() == expected
    kept = {row[0] for row in done}
    for clip in expected[0]:
        assert is_spoilt(stored()[clip.clip]) == (clip.sha256 in kept), clip.clip


def test_a_line_that_a_kill_cut_short_is_not_believed(add_clips, tmp_path):
    add_clips(*RUN, *JUMP)
    expected = extract()
    unbroken = OUTPUT.read_bytes()
    [journal] = Path(".work/extract").glob("*/*.jsonl")
    text = journal.read_text().rstrip("\n")
    journal.write_text(text[:-7])
    last = json.loads(text.splitlines()[-1])
    OUTPUT.unlink()
    spoil_pixels(journal.with_suffix(".h5"), last[1])
    assert extract() == expected
    assert OUTPUT.read_bytes() == unbroken


def test_a_second_run_decodes_nothing(add_clips):
    add_clips(*RUN, *JUMP)
    first = extract()
    spoil_pixels(OUTPUT, offset_of(RUN[1]))
    OUTPUT.unlink()  # as DVC does
    assert extract() == first
    assert [name for name, frames in stored().items() if is_spoilt(frames)] == [RUN[1]]


def test_a_new_class_decodes_only_its_own_clips(add_clips, read_indices):
    add_clips(*RUN, *JUMP)
    extract()
    for name in RUN + JUMP:
        spoil_pixels(OUTPUT, offset_of(name))
    # Sorted before, between and after the others, so that every row moves.
    new = [clip_name("Climb", 1, 6), clip_name("Lift", 1, 7), clip_name("Swim", 1, 8)]
    add_clips(*new)
    clips, _ = extract()
    frames = stored()
    assert list(frames) == [clip.clip for clip in clips] == sorted(RUN + JUMP + new)
    assert {name for name in frames if is_spoilt(frames[name])} == {*RUN, *JUMP}
    for name in new:
        n = int(name[-6:-4])
        assert read_indices(frames[name]) == (10 * n + video.even_indices(5 + n, 4)).tolist()


def test_rows_that_moved_hold_the_bytes_of_a_run_from_scratch(add_clips):
    add_clips(*RUN)
    extract()
    add_clips(*JUMP)
    clips, _ = extract()
    grown = OUTPUT.read_bytes()
    shutil.rmtree(".work")
    assert extract() == (clips, [])
    assert OUTPUT.read_bytes() == grown


def test_a_file_that_changed_under_its_name_is_decoded_anew(
    add_clips, write_video, coded_frames, read_indices
):
    add_clips(*RUN, *JUMP)
    extract()
    write_video(VIDEOS / RUN[0], coded_frames(204)[200:])
    clips, _ = extract()
    assert read_indices(stored()[RUN[0]]) == [200, 201, 202, 203]
    assert next(clip.n_frames for clip in clips if clip.clip == RUN[0]) == 4


def test_clips_that_went_leave_the_store(add_clips):
    add_clips(*RUN, *JUMP)
    extract()
    (VIDEOS / RUN[1]).unlink()
    clips, _ = extract()
    assert list(stored()) == [clip.clip for clip in clips] == sorted({*RUN, *JUMP} - {RUN[1]})


def test_clips_of_equal_bytes_each_have_a_row(add_clips):
    add_clips(*RUN, *JUMP)
    twin = VIDEOS / clip_name("Run", 9, 1)
    shutil.copy(VIDEOS / JUMP[0], twin)
    name = twin.relative_to(VIDEOS).as_posix()
    for more in ([], [], [clip_name("Climb", 1, 6)]):  # decoded, found again, moved
        add_clips(*more)
        by_name = {clip.clip: clip for clip in extract()[0]}
        assert by_name[name].sha256 == by_name[JUMP[0]].sha256
        np.testing.assert_array_equal(stored()[name], stored()[JUMP[0]])


def scratch_files() -> list[str]:
    return sorted(path.suffix for path in Path(".work").rglob("*") if path.is_file())


def test_work_in_progress_does_not_pile_up(add_clips, monkeypatch):
    monkeypatch.setenv("HAR_SCRATCH_GB", "0")
    add_clips(*RUN, *JUMP)
    extract()
    extract(shape=(2, 16, 16))
    add_clips(clip_name("Run", 3, 6))
    extract()
    assert scratch_files() == [".h5", ".jsonl"]


def test_going_back_to_other_frames_decodes_nothing(add_clips):
    add_clips(*RUN, *JUMP)
    first = extract()
    spoil_pixels(OUTPUT, offset_of(RUN[1]))
    OUTPUT.unlink()
    extract(shape=(2, 16, 16))
    OUTPUT.unlink()
    assert extract() == first
    assert [name for name, frames in stored().items() if is_spoilt(frames)] == [RUN[1]]


def test_the_stores_longest_unused_go_when_scratch_is_full(add_clips, monkeypatch):
    add_clips(*RUN, *JUMP)
    shapes = [(count, 64, 64) for count in (1, 2, 3, 4)]
    sizes = {}
    for shape in shapes:
        extract(shape=shape)
        sizes[shape] = OUTPUT.stat().st_size
        time.sleep(0.02)
    kept = sizes[shapes[1]] + sizes[shapes[0]]
    monkeypatch.setenv("HAR_SCRATCH_GB", str((kept + 1) / 1e9))
    extract(shape=shapes[0])  # used again, so that it is not the oldest any more
    time.sleep(0.02)
    extract(shape=shapes[1])
    left = sorted(path.stat().st_size for path in Path(".work").rglob("*.h5"))
    assert left == [sizes[shapes[0]], sizes[shapes[1]]]
    assert scratch_files() == [".h5"] * 2 + [".jsonl"] * 2


def test_stores_of_killed_runs_are_bounded_too(add_clips, monkeypatch):
    monkeypatch.setenv("HAR_SCRATCH_GB", "0")
    for name in (*RUN, *JUMP):
        add_clips(name)
        monkeypatch.setattr(extraction, "_publish", lambda *_: 1 / 0)  # dies before it tidies
        with pytest.raises(ZeroDivisionError):
            extract()
    assert len(list(Path(".work").rglob("*.h5"))) == 2  # the run's and the one it took over from


@pytest.mark.parametrize("size", ["much", "-1", "nan", "inf"])
def test_a_wrong_bound(add_clips, monkeypatch, size):
    add_clips(*RUN)
    monkeypatch.setenv("HAR_SCRATCH_GB", size)
    with pytest.raises(UserError, match=f"in HAR_SCRATCH_GB. Received: {size}"):
        extract()


def test_the_journal_does_not_grow_with_the_runs(add_clips):
    add_clips(*RUN, *JUMP)
    extract()
    [journal] = Path(".work").rglob("*.jsonl")
    lines = journal.read_text().split()
    for _ in range(3):
        extract()
    assert journal.read_text().split() == lines


def test_links_to_nothing_are_rejected(add_clips):
    add_clips(*RUN)
    (VIDEOS / "Run/gone.avi").symlink_to("nowhere.avi")
    clips, rejected = extract()
    assert [clip.clip for clip in clips] == sorted(RUN)
    assert rejected == [("Run/gone.avi", "Run", extraction.UNREADABLE)]


def test_bad_files_are_named_and_change_nothing_else(add_clips, cut):
    add_clips(*RUN, *JUMP)
    good = extract()[0]
    pixels = OUTPUT.read_bytes()
    shutil.rmtree(".work")
    bad = {
        "Jump/a_text.avi": "a text file, not a video",
        "Run/z_empty.avi": "empty file",
        "Run/m_cut_short.avi": "no frame decodes",
    }
    (VIDEOS / "Jump/a_text.avi").write_text("not a video\n" * 50)
    (VIDEOS / "Run/z_empty.avi").write_bytes(b"")
    shutil.copy(VIDEOS / RUN[0], VIDEOS / "Run/m_cut_short.avi")
    cut(VIDEOS / "Run/m_cut_short.avi", 0.0)
    for _ in range(2):
        clips, rejected = extract()
        assert clips == good
        assert rejected == [(name, name.split("/")[0], bad[name]) for name in sorted(bad)]
        assert OUTPUT.read_bytes() == pixels


def test_a_clip_shorter_than_asked_is_kept(add_clips, write_video, coded_frames, read_indices):
    add_clips(*JUMP)
    write_video(VIDEOS / "Run/one.avi", coded_frames(8)[7:])
    clips, rejected = extract()
    assert rejected == []
    assert clips[-1].n_frames == 1
    assert read_indices(stored()["Run/one.avi"]) == [7, 7, 7, 7]


def test_a_class_without_any_clip_that_decodes(add_clips):
    add_clips(*RUN)
    (VIDEOS / "Fly").mkdir()
    (VIDEOS / "Fly/a.avi").write_bytes(b"")
    (VIDEOS / "Fly/b.avi").write_text("text\n" * 99)
    with pytest.raises(UserError, match=r"of class Fly that decodes. Received: none; Fly/a.avi"):
        extract()
    assert not OUTPUT.exists()


@pytest.mark.parametrize("content", [[], ["clip.avi"], [".hidden/clip.avi", "Run/.clip.avi"]])
def test_no_videos(in_tmp_path, content):
    for name in content:
        (VIDEOS / name).parent.mkdir(parents=True, exist_ok=True)
        (VIDEOS / name).write_bytes(b"x")
    with pytest.raises(UserError, match="Received: none"):
        extract()


def test_only_files_in_class_folders_that_are_not_hidden_are_clips(add_clips):
    add_clips(*RUN)
    for name in ("README.md", "Run/.DS_Store", ".git/config", "Run/.cache/clip.avi"):
        (VIDEOS / name).parent.mkdir(exist_ok=True)
        (VIDEOS / name).write_bytes(b"x")
    assert extraction.list_videos(VIDEOS) == sorted(RUN)


def test_links_are_followed(add_clips, in_tmp_path):
    add_clips(*RUN)
    source = (VIDEOS / RUN[0]).rename(in_tmp_path / "source.avi")
    (VIDEOS / RUN[0]).symlink_to(source)
    assert [clip.clip for clip in extract()[0]] == sorted(RUN)


def test_real_clips(real_clips, in_tmp_path):
    twins = ["v_TrampolineJumping_g08_c01.avi", "v_TrampolineJumping_g12_c05.avi"]
    overstated = "v_JumpingJack_g20_c01.avi"
    for name in (*twins, overstated):
        label = name.split("_")[1]
        (VIDEOS / label).mkdir(parents=True, exist_ok=True)
        (VIDEOS / label / name).symlink_to(real_clips / label / name)
    clips, rejected = extract()
    assert rejected == []
    by_name = {Path(clip.clip).name: clip for clip in clips}
    assert by_name[overstated].n_frames == 116
    assert [by_name[name].group for name in twins] == ["g08", "g12"]
    assert by_name[twins[0]].sha256 == by_name[twins[1]].sha256

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
from har.clips import extraction, segments, store, video
from har.clips.store import FrameStore
from har.errors import UserError

SHAPE = (4, 16, 32)
VIDEOS = Path("data/fetched")
OUTPUT = Path("data/frames.h5")
DRIVER = """
import sys
from pathlib import Path
from har.clips import extraction
extraction.extract(Path("data/fetched"), (4, 16, 32), Path("data/frames.h5"), n_jobs=2)
"""


@pytest.fixture
def add_clips(in_tmp_path, write_video, coded_frames):
    """Write clips below data/fetched; the n-th has 5 + n frames that start at index 10·n."""

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


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded in this process, in order."""
    names = []
    read_spans = video.read_spans

    def note(path, *arguments):
        names.append(path.relative_to(VIDEOS.absolute()).as_posix())
        return read_spans(path, *arguments)

    monkeypatch.setattr(video, "read_spans", note)
    return names


def overwrite(path: Path, offset: int, text: bytes = b"\x7b" * 10) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(text)


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
        ("A/V_A_G01_C01.AVI", "g01"),
    ],
)
def test_group_is_read_from_ucf_names_alone(clip, group):
    assert (segments.group_of(clip) or clip) == group


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


def test_a_killed_run_goes_on_where_it_stopped(
    add_clips, write_jpegs, in_tmp_path, monkeypatch, decoded
):
    add_clips(*RUN, *JUMP)
    # Quick to write, slow to decode: the run is killed while it is at this one, in the middle.
    write_jpegs(VIDEOS / "Lift/slow.mjpeg", [np.zeros((1080, 1920, 3), np.uint8)] * 100)
    killed = in_tmp_path / "killed"
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
    monkeypatch.chdir(killed)
    done = {line.split()[1] for line in lines if line[-1:] == "]"}  # '["<SHA-256>",'
    decoded.clear()
    assert extract() == expected
    assert OUTPUT.read_bytes() == unbroken
    # What the killed run had decoded is not decoded again.
    by_name = {clip.clip: clip.sha256 for clip in expected[0]}
    assert decoded == [name for name in by_name if f'["{by_name[name]}",' not in done]
    assert 1 <= len(decoded) < 6


def test_a_second_run_decodes_nothing(add_clips, decoded):
    add_clips(*RUN, *JUMP)
    first = extract()
    pixels = OUTPUT.read_bytes()
    OUTPUT.unlink()  # as DVC does
    decoded.clear()
    assert extract() == first
    assert decoded == []
    assert OUTPUT.read_bytes() == pixels


def scratch_files() -> list[str]:
    return sorted(path.suffix for path in Path(".work").rglob("*") if path.is_file())


def test_scratch_holds_one_store(add_clips, monkeypatch):
    add_clips(*RUN, *JUMP)
    extract()
    extract(shape=(2, 16, 16))
    add_clips(clip_name("Run", 3, 6))
    extract()
    assert scratch_files() == [".h5", ".jsonl"]
    for name in (clip_name("Run", 4, 7), clip_name("Run", 5, 8)):
        add_clips(name)
        monkeypatch.setattr(extraction.files, "link", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extract()
    assert scratch_files() == [".h5", ".jsonl"]


def test_a_damaged_output_is_decoded_again_where_it_is_damaged(add_clips, decoded):
    add_clips(*RUN, *JUMP)
    expected = extract()
    unbroken = OUTPUT.read_bytes()
    assert OUTPUT.stat().st_mode & 0o222 == 0
    decoded.clear()
    overwrite(OUTPUT, offset_of(RUN[1]))  # the scratch store has the same blocks
    assert extract() == expected
    assert decoded == [RUN[1]]
    assert OUTPUT.read_bytes() == unbroken


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_truncated_output_is_healed(add_clips, size):
    add_clips(*RUN, *JUMP)
    expected = extract()
    unbroken = OUTPUT.read_bytes()
    os.truncate(OUTPUT, size)
    assert extract() == expected
    assert OUTPUT.read_bytes() == unbroken


def test_no_run_writes_into_what_was_published(add_clips):
    add_clips(*RUN)
    extract()
    cached = Path("object")  # as DVC's cache does
    os.link(OUTPUT, cached)
    content = cached.read_bytes()
    add_clips(*JUMP)
    extract()
    (VIDEOS / "Run/bad.avi").write_bytes(b"")
    extract()
    assert cached.read_bytes() == content


def not_utf8(journal: Path) -> None:
    journal.write_bytes(b"\xff\xfe" + journal.read_bytes()[2:])


def cut_short(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-7])


def other_facts(journal: Path) -> None:
    journal.write_text(journal.read_text().replace(", 25.0,", ", 26.0,"))


def nonsense(journal: Path) -> None:
    journal.write_text("[]\n{}\nnull\n[1, 2]\n")


@pytest.mark.parametrize(
    ("damage", "n_decoded"), [(not_utf8, 1), (cut_short, 1), (other_facts, 5), (nonsense, 5)]
)
def test_a_damaged_journal(add_clips, decoded, damage, n_decoded):
    add_clips(*RUN, *JUMP)
    expected = extract()
    unbroken = OUTPUT.read_bytes()
    [journal] = Path(".work/extract").glob("*/*.jsonl")
    damage(journal)
    decoded.clear()
    assert extract() == expected
    assert len(decoded) == n_decoded
    assert OUTPUT.read_bytes() == unbroken


def test_a_new_class_decodes_only_its_own_clips(add_clips, read_indices, decoded):
    add_clips(*RUN, *JUMP)
    extract()
    decoded.clear()
    # Sorted before, between and after the others, so that every row moves.
    new = [clip_name("Climb", 1, 6), clip_name("Lift", 1, 7), clip_name("Swim", 1, 8)]
    add_clips(*new)
    clips, _ = extract()
    frames = stored()
    assert list(frames) == [clip.clip for clip in clips] == sorted(RUN + JUMP + new)
    assert decoded == new
    for name in sorted(RUN + JUMP + new):
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


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir/a.avi",
        "Run/@eaDir/a.avi",
        "$RECYCLE.BIN/a.avi",
        "System Volume Information/a.avi",
        "Run/Thumbs.db",
        "Run/desktop.ini",
        "Run/.DS_Store",
    ],
)
def test_what_systems_leave_in_folders_is_no_clip(add_clips, name):
    add_clips(*RUN)
    (VIDEOS / name).parent.mkdir(exist_ok=True)
    (VIDEOS / name).write_bytes(b"x")
    assert extraction.list_videos(VIDEOS) == sorted(RUN)


def test_linked_folders_are_followed_and_loops_are_refused(add_clips, in_tmp_path):
    add_clips(*RUN, *JUMP)
    (VIDEOS / "Jump").rename("elsewhere")
    (VIDEOS / "Jump").symlink_to(in_tmp_path / "elsewhere")
    more = (VIDEOS / "Run/more").absolute()
    (in_tmp_path / "more").mkdir()
    (in_tmp_path / "more/extra.avi").write_bytes(b"x")
    more.symlink_to(in_tmp_path / "more")
    assert extraction.list_videos(VIDEOS) == sorted([*RUN, *JUMP, "Run/more/extra.avi"])
    (VIDEOS / "Run/loop").symlink_to(VIDEOS.absolute())
    with pytest.raises(UserError, match="Run/loop is a link to a folder that holds it"):
        extraction.list_videos(VIDEOS)


def test_names_and_files_that_are_rejected_by_name(add_clips):
    add_clips(*RUN)
    shutil.copy(VIDEOS / RUN[0], VIDEOS / "Run/GL010001.LRV")
    shutil.copy(VIDEOS / RUN[0], os.fsencode(VIDEOS) + b"/Run/\xff.avi")
    clips, rejected = extract()
    assert [clip.clip for clip in clips] == sorted(RUN)
    assert rejected == [
        ("Run/GL010001.LRV", "Run", extraction.LOW_RESOLUTION),
        ("Run/\\xff.avi", "Run", "its name is not UTF-8; rename it"),
    ]
    files.write_csv(Path("rejected.csv"), ("clip", "class", "reason"), rejected)


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

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from har.clips import extraction, sampling, segments, store, video
from har.clips.segments import Segment
from har.errors import UserError

SEGMENTS = {
    "Jump/talk_12.5-15.mp4": Segment("_sources/talk.mp4", 12.5, 15.0, "anna", 2, 5),
    'Wave/ü,"x".mp4': Segment('_sources/ü,"x".mp4', 0.0, None, "g07"),
    "Wave/long_3601.125-3602.mp4": Segment("_sources/long.mp4", 3601.125, 3602.0, "long.mp4"),
}


def test_what_was_written_is_read(tmp_path):
    segments.write(tmp_path, SEGMENTS)
    assert segments.read(tmp_path) == SEGMENTS
    assert list(segments.read(tmp_path)) == list(SEGMENTS)


def test_no_table(tmp_path):
    assert segments.read(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "clip,class\nJump/a.mp4,Jump\n",
        "clip,class,group,source,start,end,fold,row\nJump/a.mp4,Jump,g,_sources/a.mp4,soon,,,\n",
        "clip,class,group,source,start,end,fold,row\nJump/a.mp4,Jump\n",
        'clip,class,group,source,start,end,fold,row\n"Jump/a.mp4\n',
        b"clip,class,group,source,start,end,fold,row\n\xff,Jump,g,s,0,,,\n",
    ],
)
def test_damaged_table_is_one_line(tmp_path, text):
    (tmp_path / "segments.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"segments.csv is damaged: .*dvc repro"):
        segments.read(tmp_path)


@pytest.mark.parametrize(
    ("clip", "pattern", "group"),
    [
        ("Billiards/v_Billards_g07_c02.avi", None, "g07"),
        ("Wave/V_WAVE_G12_C01.AVI", None, "g12"),
        ("Wave/g07_c01/holiday.mp4", None, None),
        ("Wave/v_g07_c02_copy.mp4", None, None),
        ("Wave/anna-3.mp4", "^([a-z]+)-", "anna"),
        ("Wave/anna3.mp4", "^([a-z]+)-", None),
        ("Wave/x.mp4", "(y*)", None),
    ],
)
def test_group_of_a_name(clip, pattern, group):
    assert segments.group_of(clip, pattern) == group


def test_groups_are_described():
    told = {"A/1": "g01", "A/2": "g01", "B/1": "g01"}
    assert segments.describe_groups(told) == "3 clips in 2 groups"
    some = segments.describe_groups({**told, "B/x.mp4": None})
    assert some.startswith("4 clips in 3 groups; 1 names tell no group")
    assert "B/x.mp4" in some
    none = segments.describe_groups({f"A/{i}.mp4": None for i in range(90)})
    assert none.startswith("Warning: 90 clips in 90 groups: no name tells a group.")
    assert "\n" not in none


def test_groups_of_names_that_are_no_number_are_of_all_classes():
    assert segments.describe_groups({"A/1": "anna", "B/1": "anna"}) == "2 clips in 1 groups"


def test_a_clip_is_located(tmp_path):
    assert segments.locate(tmp_path, "Jump/a.avi") == (tmp_path / "Jump/a.avi", 0.0, None)
    segments.write(tmp_path, SEGMENTS)
    path = tmp_path / "_sources/talk.mp4"
    assert segments.locate(tmp_path, "Jump/talk_12.5-15.mp4") == (path, 12.5, 15.0)
    with pytest.raises(UserError, match=r"Jump/b.mp4 is not in .*segments.csv"):
        segments.locate(tmp_path, "Jump/b.mp4")


@pytest.fixture
def table(in_tmp_path, write_video, coded_frames):
    """Write a table of parts of a video of 200 coded frames, 25 a second."""

    def make(*rows: Segment) -> Path:
        write_video(Path("fetched/_sources/long.avi"), coded_frames(200))
        write_video(Path("fetched/_sources/other.avi"), coded_frames(230)[200:])
        names = [f"{'AB'[i % 2]}/{i}.avi" for i in range(len(rows))]
        segments.write(Path("fetched"), dict(zip(names, rows, strict=True)))
        return Path("fetched")

    return make


LONG, OTHER = "_sources/long.avi", "_sources/other.avi"


def extract(videos: Path, count: int = 4) -> tuple[dict[str, store.Clip], list, dict]:
    clips, rejected = extraction.extract(videos, (count, 32, 64), Path("frames.h5"), n_jobs=1)
    with store.FrameStore(Path("frames.h5")) as frames:
        pixels = dict(zip(frames.clips, frames.read(frames.clips)[0], strict=True))
    return {clip.clip: clip for clip in clips}, rejected, pixels


def test_frames_of_parts_are_picked_evenly(table, read_indices):
    videos = table(
        Segment(LONG, 1.0, 3.0, "anna"),  # frames 25 to 74
        Segment(LONG, 2.04, 2.12, "ben"),  # 51 and 52
        Segment(LONG, 7.0, None, "ben"),  # 175 to 199
        Segment(OTHER, 0.0, None, "carl"),
        Segment(LONG, 0.0, 8.05, "dora"),  # people round
        Segment(LONG, 0.0, None, "dora"),
    )
    clips, rejected, pixels = extract(videos)
    assert rejected == []
    found = {name: read_indices(frames) for name, frames in pixels.items()}
    assert found == {
        "A/0.avi": (25 + video.even_indices(50, 4)).tolist(),
        "A/2.avi": (175 + video.even_indices(25, 4)).tolist(),
        "A/4.avi": video.even_indices(200, 4).tolist(),
        "B/1.avi": [51, 51, 52, 52],
        "B/3.avi": (200 + video.even_indices(30, 4)).tolist(),
        "B/5.avi": video.even_indices(200, 4).tolist(),
    }
    assert [clip.n_frames for clip in clips.values()] == [50, 25, 200, 2, 30, 200]
    assert [clip.group for clip in clips.values()] == ["anna", "ben", "dora", "ben", "carl", "dora"]
    assert len({clip.sha256 for clip in clips.values()}) == 6
    digests = {name: extraction.files.file_sha256(videos / name) for name in (LONG, OTHER)}
    assert clips["B/5.avi"].sha256 == digests[LONG]
    assert clips["B/3.avi"].sha256 == digests[OTHER]


def test_what_networks_read_of_a_part(table, read_indices):
    videos = table(Segment(LONG, 1.0, 3.0, "anna"))
    path, start, end = segments.locate(videos, "A/0.avi")
    evenly = sampling.Sampling(4, 32, 64).read(path, None, start, end)[0]
    assert read_indices(evenly) == (25 + video.even_indices(50, 4)).tolist()
    windows = sampling.Sampling(3, 32, 64, step=2, windows=2).read(path, None, start, end)[0]
    assert read_indices(windows) == (25 + sampling.window_indices(50, 3, 2, 2)).tolist()


def test_rows_that_cannot_be_are_rejected_with_their_numbers(table):
    videos = table(
        Segment(LONG, 1.0, 3.0, "anna", None, 2),
        Segment(LONG, 1.0, 8.5, "anna", None, 3),
        Segment(LONG, 9.0, None, "anna", None, 4),
        Segment(OTHER, 0.0, None, "anna", None, 5),
        Segment("_sources/gone.avi", 0.0, 1.0, "anna", None, 6),
        Segment(LONG, 1.001, 1.002, "anna", None, 7),
    )
    clips, rejected, _ = extract(videos)
    assert list(clips) == ["A/0.avi", "B/3.avi"]
    assert {row.clip: row.reason for row in rejected} == {
        "B/1.avi": "row 3 of the table: it is 8.00 s long by its time stamps, not 8.5 s",
        "A/2.avi": "row 4 of the table: it is 8.00 s long by its time stamps, not 9 s",
        "A/4.avi": f"row 6 of the table: {extraction.UNREADABLE}",
        "B/5.avi": "row 7 of the table: no frame from 1.001 s to 1.002 s",
    }


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
@pytest.mark.parametrize("span", [(1.0, 3.0), (0.0, 0.9), (2.513, 4.379), (6.2, 8.0)])
@pytest.mark.parametrize("codec", ["MJPG", "XVID"])
def test_frames_are_those_of_a_clip_that_ffmpeg_cut(
    in_tmp_path, write_video, coded_frames, read_indices, codec, span
):
    whole = write_video(Path("a.avi"), coded_frames(200), codec)
    start, end = map(str, span)
    cut = ["ffmpeg", "-loglevel", "error", "-i", "a.avi", "-ss", start, "-to", end]
    subprocess.run([*cut, "-c:v", "ffv1", "cut.mkv"], check=True)
    expected, facts = video.read_clip(Path("cut.mkv"), 7, 32, 64)
    found, found_facts = video.read_clip(whole, 7, 32, 64, *span)
    assert read_indices(found) == read_indices(expected)
    assert found_facts.n_frames == facts.n_frames
    np.testing.assert_allclose(found.astype(int), expected, atol=8)


@pytest.mark.slow
def test_videos_are_decoded_once_and_not_once_a_row(in_tmp_path, write_video, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (2500, 32, 64, 3)).astype(np.uint8)
    rows = {}
    for i in range(10):
        write_video(Path(f"fetched/_sources/{i}.avi"), noise)
    for i in range(1000):
        start = i // 10 * 0.99
        rows[f"C{i % 7}/{i}.avi"] = Segment(f"_sources/{i % 10}.avi", start, start + 0.9, f"{i}")
    segments.write(Path("fetched"), rows)
    opened = []
    capture = video._open
    monkeypatch.setattr(video, "_open", lambda path: opened.append(path) or capture(path))
    clips, rejected, _ = extract(Path("fetched"))
    assert (len(clips), rejected) == (1000, [])
    assert len(opened) <= 20

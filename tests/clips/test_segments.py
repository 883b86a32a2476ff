import pytest

from har.clips import segments
from har.clips.segments import Segment
from har.errors import UserError

SEGMENTS = {
    "Jump/talk_12.5-15.mp4": Segment("_sources/talk.mp4", 12.5, 15.0, "anna", 2),
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
        "clip,class,group,source,start,end,fold\nJump/a.mp4,Jump,g,_sources/a.mp4,soon,,\n",
        "clip,class,group,source,start,end,fold\nJump/a.mp4,Jump\n",
        'clip,class,group,source,start,end,fold\n"Jump/a.mp4\n',
        b"clip,class,group,source,start,end,fold\n\xff,Jump,g,s,0,,\n",
    ],
)
def test_damaged_table_is_one_line(tmp_path, text):
    (tmp_path / "segments.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"segments.csv is damaged .*dvc repro fetch"):
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

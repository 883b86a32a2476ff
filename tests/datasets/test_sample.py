import dataclasses
import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from har.datasets import sample
from har.datasets.rendering import figure, film, scene
from har.errors import UserError

PAIRS = [("SitDown", "StandUp"), ("PickUp", "PutDown")]


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def decode(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return np.stack(frames)


def draw(label: str, group: int, clip: int) -> tuple[sample.Group, sample.Clip]:
    motion, backwards = sample.MOTIONS[label]
    drawn = sample.draw_group(sample.Name(label, group).rng(), motion)
    return drawn, sample.draw_clip(sample.Name(label, group, clip).rng(), drawn, backwards)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rendered")
    sample.render(root, groups=2, clips_per_group=2, n_jobs=1)
    return root


def test_layout_is_that_of_ucf50(rendered):
    expected = {
        f"{label}/v_{label}_g{group:02}_c{clip:02}.avi"
        for label, group, clip in itertools.product(sample.CLASSES, (1, 2), (1, 2))
    }
    assert set(digests(rendered)) == expected


def test_clips_decode_to_the_frames_that_were_rendered(rendered):
    name = sample.Name("PutDown", 2, 1)
    frames = sample.render_clip(*draw(*name))
    decoded = decode(rendered / name.path())
    assert frames.dtype == np.uint8
    assert decoded.shape == frames.shape == (len(frames), film.HEIGHT, film.WIDTH, 3)
    # Closer than red and blue exchanged would be, for each frame at its own index.
    error = np.abs(decoded.astype(int) - frames).mean(axis=(1, 2, 3))
    exchanged = np.abs(decoded.astype(int) - frames[..., ::-1]).mean(axis=(1, 2, 3))
    assert (error < 5).all()
    assert (error < exchanged).all()


def test_bytes_do_not_depend_on_process_jobs_classes_or_group_count(rendered, tmp_path):
    sample.render(tmp_path, ["StandUp", "Squats"], groups=1, clips_per_group=1, n_jobs=2)
    expected = digests(rendered)
    received = digests(tmp_path)
    assert len(received) == 2
    assert received.items() <= expected.items()


def test_a_fresh_interpreter_renders_the_same_bytes(rendered, tmp_path):
    code = (
        "import sys; from pathlib import Path; from har.datasets.sample import render\n"
        "render(Path(sys.argv[1]), ['PickUp'], groups=1, n_jobs=1)\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    root = Path(sample.__file__).parents[2]
    # Another hash seed: nothing may depend on the order of sets or on hash().
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    expected = digests(rendered)
    received = digests(tmp_path)
    assert len(received) == sample.CLIPS_PER_GROUP
    assert {k: v for k, v in received.items() if k in expected}.items() <= expected.items()


def test_a_killed_run_goes_on_where_it_stopped(rendered, tmp_path):
    options = {"groups": 2, "clips_per_group": 2, "n_jobs": 1}
    sample.render(tmp_path, ["Squats"], **options)
    kept, lost, broken = (sample.Name("Squats", *n) for n in ((1, 1), (1, 2), (2, 1)))
    (tmp_path / lost.path()).unlink()
    whole = tmp_path / broken.path()
    partial = whole.with_name(f".{whole.stem}.part.avi")
    partial.write_bytes(whole.read_bytes()[:1000])
    whole.unlink()
    before = (tmp_path / kept.path()).stat().st_mtime_ns

    sample.render(tmp_path, ["Squats"], **options)
    expected = {k: v for k, v in digests(rendered).items() if k.startswith("Squats/")}
    assert digests(tmp_path) == expected
    assert (tmp_path / kept.path()).stat().st_mtime_ns == before


@pytest.mark.parametrize("label", sample.CLASSES)
def test_backwards_shows_the_same_frames_in_opposite_order(label):
    group, clip = draw(label, 1, 1)
    other = dataclasses.replace(clip, backwards=not clip.backwards)
    np.testing.assert_array_equal(
        sample.render_clip(group, other), sample.render_clip(group, clip)[::-1]
    )


@pytest.mark.parametrize(("forwards", "backwards"), PAIRS)
def test_classes_of_a_pair_differ_in_the_direction_of_time_alone(forwards, backwards):
    assert sample.MOTIONS[forwards][0] == sample.MOTIONS[backwards][0]
    motion = sample.MOTIONS[forwards][0]
    # The same draws make the same clip, turned round: so all the rest is equal in distribution.
    films = []
    for label in (forwards, backwards):
        group = sample.draw_group(np.random.default_rng(5), motion)
        clip = sample.draw_clip(np.random.default_rng(6), group, sample.MOTIONS[label][1])
        films.append(sample.render_clip(group, clip))
    np.testing.assert_array_equal(films[0], films[1][::-1])
    assert not np.array_equal(films[0], films[1])


@pytest.mark.parametrize(("forwards", "backwards"), PAIRS)
def test_groups_of_a_pair_are_unrelated(forwards, backwards):
    first, second = (draw(label, 1, 1)[0] for label in (forwards, backwards))
    assert first.person != second.person
    assert first.view != second.view
    assert not np.array_equal(first.place, second.place)


def test_nuisances_do_not_tell_the_direction_of_time():
    """Drift of light, zoom and pan, and the rest before and after, are even in time on average."""
    rng = np.random.default_rng(1)
    group = sample.draw_group(rng, "sit_down")
    clips = [sample.draw_clip(rng, group) for _ in range(400)]
    zooms = [np.linalg.det(clip.camera[[0, -1], :, :2]) for clip in clips]
    measures = {
        "light": [clip.gain[-8:].mean() - clip.gain[:8].mean() for clip in clips],
        "zoom": [last - first for first, last in zooms],
        "pan": [clip.camera[-1, 0, 2] - clip.camera[0, 0, 2] for clip in clips],
        "rest": [clip.progress[-1] - 1 + clip.progress[0] for clip in clips],
    }
    for what, values in measures.items():
        assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5, what
        assert np.std(values) > 0, what


def test_one_way_motions_rest_before_and_after():
    rng = np.random.default_rng(2)
    for motion in ("sit_down", "pick_up"):
        group = sample.draw_group(rng, motion)
        for _ in range(50):
            progress = sample.draw_clip(rng, group).progress
            assert progress[0] < 0
            assert progress[-1] > 1


def test_clip_length_has_nothing_to_do_with_the_class():
    low, high = sample.NUISANCE.n_frames
    lengths = []
    for motion in figure.MOTIONS:
        group = sample.draw_group(np.random.default_rng(3), motion)
        clips = [sample.draw_clip(np.random.default_rng([4, k]), group) for k in range(60)]
        lengths.append([len(clip.progress) for clip in clips])
        assert all(len(c.camera) == len(c.gain) == len(c.sway) == len(c.progress) for c in clips)
    # The length is drawn first: equal generators give equal lengths, whatever the motion.
    assert lengths.count(lengths[0]) == len(lengths)
    assert low <= min(lengths[0]) < max(lengths[0]) <= high


def test_clips_of_a_group_look_more_alike_than_groups():
    middles = {}
    for label, number in itertools.product(("JumpingJack", "SitDown"), (1, 2, 3)):
        for clip in (1, 2):
            frames = sample.render_clip(*draw(label, number, clip))
            small = cv2.resize(frames.mean(axis=0), (16, 12), interpolation=cv2.INTER_AREA)
            middles[label, number, clip] = small

    def distances(same: bool) -> list[float]:
        return [
            float(np.abs(middles[a] - middles[b]).mean())
            for a, b in itertools.combinations(middles, 2)
            if (a[:2] == b[:2]) == same
        ]

    assert max(distances(same=True)) < np.median(distances(same=False)) / 2


SEGMENTS = [
    ("pelvis", "chest", "trunk"),
    ("chest", "chin", "neck"),
    ("chin", "crown", "head"),
    *(
        (f"{a}_{side}", f"{b}_{side}", length)
        for side in ("left", "right")
        for a, b, length in (
            ("shoulder", "elbow", "upper_arm"),
            ("elbow", "wrist", "forearm"),
            ("wrist", "fingers", "hand"),
            ("hip", "knee", "thigh"),
            ("knee", "ankle", "shank"),
        )
    ),
]


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (3, len(figure.ANGLES)), elements=st.floats(-4, 4)))
def test_segments_keep_their_length_at_any_angles(angles):
    body = figure.joints(angles)
    for a, b, length in SEGMENTS:
        expected = figure.PROPORTIONS[length]
        np.testing.assert_allclose(np.linalg.norm(body[b] - body[a], axis=1), expected, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (2, len(figure.ANGLES)), elements=st.floats(-2, 2)))
def test_exchanging_left_and_right_mirrors_the_body(angles):
    columns = [
        figure.ANGLES.index(
            name.replace("left", "R").replace("right", "left").replace("R", "right")
        )
        for name in figure.ANGLES
    ]
    body, other = figure.joints(angles), figure.joints(angles[:, columns])
    for name in ("elbow", "fingers", "knee", "toes"):
        mirrored = other[f"{name}_right"] * [1, -1, 1]
        np.testing.assert_allclose(body[f"{name}_left"], mirrored, atol=1e-9)


@pytest.mark.parametrize("motion", figure.MOTIONS)
@pytest.mark.parametrize("extreme", [-1.0, 0.0, 1.0])
def test_motions_are_anatomically_possible(motion, extreme):
    style = figure.Style(*[extreme] * 4)
    angles = figure.trajectory(motion, np.linspace(0, 1, 101), style)
    body = figure.joints(angles)
    hinges = [i for i, name in enumerate(figure.ANGLES) if name.startswith(("knee", "elbow"))]
    assert (angles[:, hinges] >= 0).all()
    assert (angles[:, hinges] <= np.radians(155)).all()
    lift = angles[:, figure.ANGLES.index("lift")]
    ankles = np.minimum(body["ankle_left"][:, 2], body["ankle_right"][:, 2])
    np.testing.assert_allclose(ankles, figure.PROPORTIONS["ankle"] + lift)
    assert all((position[:, 2] > -0.01).all() for position in body.values())
    # Smooth: no joint runs ahead by a tenth of the body in a hundredth of the motion.
    steps = [np.abs(np.diff(position, axis=0)).max() for position in body.values()]
    assert max(steps) < 0.1


def test_standing_people_are_one_stature_tall():
    body = figure.joints(figure.pose({"trunk": 0, "hip": 0, "knee": 0, "spread": 0})[None])
    assert body["crown"][0, 2] == pytest.approx(1.0, abs=0.01)


def test_a_one_way_motion_ends_elsewhere_and_a_cycle_where_it_began():
    for motion in figure.MOTIONS:
        first, last = figure.trajectory(motion, np.array([0.0, 1.0]), figure.Style())
        assert np.allclose(first, last) == (motion in figure.CYCLIC)


def test_the_thing_lies_still_until_it_is_grasped_and_then_follows_the_hands():
    group, clip = draw("PickUp", 3, 1)
    angles = figure.trajectory("pick_up", clip.progress, group.style)
    body = figure.joints(angles, group.proportions)
    held = clip.progress > 0.5
    top = group.thing.parts(body, held, group.view)[-1].outline.mean(axis=1)
    assert np.ptp(top[~held], axis=0).max() == 0
    assert top[held][-1, 1] < top[~held][0, 1] - 0.2 * group.view.px_per_stature
    jumps = np.linalg.norm(np.diff(top, axis=0), axis=1)
    assert jumps.max() < 0.2 * group.view.px_per_stature


def test_people_stand_large_in_the_frame():
    for label, number in itertools.product(sample.CLASSES, range(1, 6)):
        group, clip = draw(label, number, 1)
        angles = figure.trajectory(group.motion, clip.progress, group.style)
        body = figure.joints(angles, group.proportions)
        for name in ("pelvis", "chin", "knee_left", "knee_right"):
            points = group.view.project(body[name])[0][:, None]
            x, y = scene.carry(points, clip.camera)[:, 0].T
            assert (x > 0).all() and (x < film.WIDTH).all()
            assert (y > 0).all() and (y < film.HEIGHT).all()
        share = group.view.px_per_stature / film.HEIGHT
        assert 0.6 < share < 0.9


@pytest.mark.parametrize("cut", [1, 500, 2000, 5000])
def test_a_clip_cut_anywhere_is_not_whole(rendered, tmp_path, cut):
    name = sample.Name("PutDown", 2, 1)
    data = (rendered / name.path()).read_bytes()
    count = len(sample.render_clip(*draw(*name)))
    (tmp_path / "a.avi").write_bytes(data)
    assert sample._is_whole(tmp_path / "a.avi", count)
    assert not sample._is_whole(tmp_path / "a.avi", count + 1)
    (tmp_path / "a.avi").write_bytes(data[:-cut])
    assert not sample._is_whole(tmp_path / "a.avi", count)


def test_a_full_disk_is_told_and_leaves_no_cut_clip(rendered, small_disk):
    options = {"groups": 2, "clips_per_group": 2, "n_jobs": 1}
    with pytest.raises(UserError, match=r"avi could not be written whole") as caught:
        sample.render(small_disk, **options)
    assert "\n" not in str(caught.value)
    expected = digests(rendered)
    left = digests(small_disk)
    assert left
    assert left.items() <= expected.items()
    # A larger disk, and it goes on.
    subprocess.run(["mount", "-o", "remount,size=9m", str(small_disk)], check=True)
    sample.render(small_disk, **options)
    assert digests(small_disk) == expected


def test_an_unknown_class_is_named_with_the_valid_ones(tmp_path):
    with pytest.raises(UserError, match=r"JumpingJack, .*Squats.*Received: Juggling\."):
        sample.render(tmp_path, ["Squats", "Juggling"])
    assert not list(tmp_path.iterdir())

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from har import files
from har.clips import segments, splits
from har.clips.store import Clip
from har.errors import UserError

SEED = 27


def make_clip(name: str, sha256: str | None = None) -> Clip:
    label = name.split("/")[0]
    return Clip(name, label, segments.group_of(name) or name, sha256 or name, 30, 25.0, 64, 32)


def ucf(label: str, group: int, clip: int = 1, sha256: str | None = None) -> Clip:
    return make_clip(f"{label}/v_{label}_g{group:02}_c{clip:02}.avi", sha256)


def table(n_classes: int, n_groups: int, clips_per_group: int = 2) -> list[Clip]:
    labels = "ABCDEFGHIJ"[:n_classes]
    return [
        ucf(label, group, clip)
        for label in labels
        for group in range(1, n_groups + 1)
        for clip in range(1, clips_per_group + 1)
    ]


@st.composite
def tables(draw) -> list[Clip]:
    """Clips in UCF's naming: all classes have groups 1 to G, of one to four clips, some twice."""
    n_groups = draw(st.integers(5, 12))
    clips = []
    for label in "ABCDE"[: draw(st.integers(2, 5))]:
        for group in range(1, n_groups + 1):
            for clip in range(1, draw(st.integers(1, 4)) + 1):
                sha256 = None
                # The first clip of a group is no copy, so that every group has one that counts.
                if clip > 1 and draw(st.integers(0, 9)) == 0:
                    same_class = [other for other in clips[-6:] if other.label == label]
                    sha256 = draw(st.sampled_from(same_class)).sha256
                clips.append(ucf(label, group, clip, sha256))
    return clips


@st.composite
def named_freely(draw) -> list[Clip]:
    """Clips of which some names tell a group and some do not."""
    clips = []
    for label in "ABC"[: draw(st.integers(2, 3))]:
        n = draw(st.integers(6, 20))
        clips += [make_clip(f"{label}/holiday {i}.mp4") for i in range(n)]
        clips += [ucf(label, group, c) for group in range(draw(st.integers(0, 3))) for c in (1, 2)]
    return sorted(clips)


def subsets(tmp_path_factory, rows, protocol: str, fold: int) -> splits.Subsets:
    path = tmp_path_factory.getbasetemp() / "split.csv"
    splits.write(path, rows)
    return splits.read(path, protocol, fold)


@settings(deadline=None, max_examples=25)
@given(clips=tables(), folds=st.integers(3, 5))
def test_every_clip_has_folds_or_is_a_duplicate(clips, folds):
    rows = splits.assign(clips, folds, SEED)
    assert [row.clip for row in rows] == [clip.clip for clip in clips]
    sha256 = {clip.clip: clip.sha256 for clip in clips}
    counted = [row for row in rows if not row.duplicate_of]
    assert len(counted) == len(set(sha256.values()))
    for row in rows:
        if row.duplicate_of:
            assert (row.group_fold, row.random_fold) == (None, None)
            assert row.duplicate_of != row.clip
            assert row.duplicate_of in {other.clip for other in counted}
            assert sha256[row.duplicate_of] == sha256[row.clip]
        else:
            assert row.group_fold in range(folds)
            assert row.random_fold in range(folds)


@settings(deadline=None, max_examples=25)
@given(clips=tables(), folds=st.integers(3, 5))
def test_a_group_number_has_one_fold_in_all_classes(clips, folds):
    fold_of = defaultdict(set)
    for row in splits.assign(clips, folds, SEED):
        if not row.duplicate_of:
            fold_of[row.group].add(row.group_fold)
    assert all(len(found) == 1 for found in fold_of.values())
    # And the groups are shared out evenly.
    sizes = Counter(next(iter(found)) for found in fold_of.values())
    assert set(sizes) == set(range(folds))
    assert max(sizes.values()) - min(sizes.values()) <= 1


@settings(deadline=None, max_examples=25)
@given(clips=tables(), folds=st.integers(3, 5), seed=st.integers(0, 2**32 - 1))
def test_random_folds_are_stratified(clips, folds, seed):
    counts = defaultdict(Counter)
    for row in splits.assign(clips, folds, seed):
        if not row.duplicate_of:
            counts[row.label][row.random_fold] += 1
    for label, by_fold in counts.items():
        sizes = [by_fold[fold] for fold in range(folds)]
        assert max(sizes) - min(sizes) <= 1, label


@settings(deadline=None, max_examples=20)
@given(clips=tables(), folds=st.integers(3, 5), data=st.data())
def test_the_three_subsets_are_disjoint_and_complete(tmp_path_factory, clips, folds, data):
    rows = splits.assign(clips, folds, SEED)
    protocol = data.draw(st.sampled_from(["group", "random"]))
    fold = data.draw(st.integers(0, folds - 1))
    three = subsets(tmp_path_factory, rows, protocol, fold)
    together = [clip for subset in three for clip in subset]
    assert sorted(together) == sorted(row.clip for row in rows if not row.duplicate_of)
    assert all(three)
    column = f"{protocol}_fold"
    by_fold = {row.clip: getattr(row, column) for row in rows}
    assert {by_fold[clip] for clip in three.test} == {fold}
    assert {by_fold[clip] for clip in three.validation} == {(fold + 1) % folds}
    if protocol == "group":
        group = {row.clip: (row.label, row.group) for row in rows}
        train, validation, test = ({group[clip] for clip in subset} for subset in three)
        assert not train & validation
        assert not train & test
        assert not validation & test


@settings(deadline=None, max_examples=20)
@given(clips=tables(), folds=st.integers(3, 5))
def test_every_clip_is_tested_once(tmp_path_factory, clips, folds):
    rows = splits.assign(clips, folds, SEED)
    for protocol in ("group", "random"):
        tested = [
            clip
            for fold in range(folds)
            for clip in subsets(tmp_path_factory, rows, protocol, fold).test
        ]
        assert sorted(tested) == sorted(row.clip for row in rows if not row.duplicate_of)


@settings(deadline=None, max_examples=20)
@given(clips=named_freely(), folds=st.integers(3, 5))
def test_names_that_tell_no_group(clips, folds):
    rows = splits.assign(clips, folds, SEED)
    fold_of = defaultdict(set)
    by_class = defaultdict(Counter)
    for row in rows:
        assert row.group_fold in range(folds)
        fold_of[row.label, row.group].add(row.group_fold)
        by_class[row.label][row.group_fold] += 1
    assert all(len(found) == 1 for found in fold_of.values())
    # Every class is in every fold, as it has more groups than there are folds.
    for counts in by_class.values():
        assert set(counts) == set(range(folds))


@pytest.mark.parametrize("n_groups", [3, 4, 7, 25])
def test_as_many_folds_as_groups_is_leave_one_group_out(n_groups):
    rows = splits.assign(table(3, n_groups), n_groups, SEED)
    assert {(row.group, row.group_fold) for row in rows} == {
        (f"g{group:02}", group - 1) for group in range(1, n_groups + 1)
    }


def test_random_folds_leak_groups_and_group_folds_do_not():
    rows = splits.assign(table(4, 10, 4), 5, SEED)
    for column, leaks in (("random_fold", True), ("group_fold", False)):
        folds = defaultdict(set)
        for row in rows:
            folds[row.label, row.group].add(getattr(row, column))
        assert any(len(found) > 1 for found in folds.values()) == leaks


def test_the_same_seed_gives_the_same_folds_and_another_seed_others():
    clips = table(4, 10, 4)
    once = splits.assign(clips, 5, 1)
    assert splits.assign(clips, 5, 1) == once
    other = splits.assign(clips, 5, 2)
    assert [row.random_fold for row in other] != [row.random_fold for row in once]
    # The protocol fixes the group folds.
    assert [row.group_fold for row in other] == [row.group_fold for row in once]


def test_duplicates_count_once_within_and_across_groups():
    clips = table(2, 5, 1)
    copies = [
        ucf("A", 1, 2, sha256=clips[0].sha256),
        ucf("A", 4, 2, sha256=clips[0].sha256),
        ucf("B", 5, 2, sha256=clips[6].sha256),
    ]
    rows = splits.assign(clips + copies, 5, SEED)
    assert [row.duplicate_of for row in rows] == [""] * 10 + [
        clips[0].clip,
        clips[0].clip,
        clips[6].clip,
    ]
    assert rows[:10] == splits.assign(clips, 5, SEED)


def test_equal_bytes_in_two_classes_are_refused():
    clips = [*table(2, 5, 1), ucf("B", 5, 2, sha256=ucf("A", 2).sha256)]
    with pytest.raises(UserError, match=r"A/v_A_g02_c01.avi and B/v_B_g05_c02.avi have the same"):
        splits.assign(clips, 5, SEED)


def test_split_csv(in_tmp_path):
    clips = [*table(2, 3, 1), ucf("B", 3, 2, sha256=ucf("B", 3, 1).sha256)]
    splits.write(in_tmp_path / "split.csv", splits.assign(clips, 3, SEED))
    lines = (in_tmp_path / "split.csv").read_bytes().decode().split("\n")
    assert lines[0] == "clip,class,group,group_fold,random_fold,duplicate_of"
    assert lines[1].startswith("A/v_A_g01_c01.avi,A,g01,0,")
    assert lines[7] == "B/v_B_g03_c02.avi,B,g03,,,B/v_B_g03_c01.avi"
    assert lines[8:] == [""]
    groups = splits.read_groups(in_tmp_path / "split.csv")
    assert groups["A/v_A_g01_c01.avi"] == "A/g01"
    assert groups["B/v_B_g01_c01.avi"] == "B/g01"
    assert len(files.read_csv(in_tmp_path / "split.csv", {})) == 7


@pytest.mark.parametrize("protocol", ["group", "random"])
@pytest.mark.parametrize("fold", [-1, 4, 99])
def test_a_fold_that_does_not_exist(in_tmp_path, protocol, fold):
    splits.write(in_tmp_path / "split.csv", splits.assign(table(2, 8), 4, SEED))
    with pytest.raises(UserError, match=rf"split.fold between 0 and 3. Received: {fold}\."):
        splits.read(in_tmp_path / "split.csv", protocol, fold)


def test_no_split_csv(in_tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        splits.read(in_tmp_path / "split.csv", "group", 0)


@pytest.mark.parametrize(
    ("clips", "folds", "message"),
    [
        (table(2, 4), 5, r"split.folds ≤ the number of groups, 4. Received: split.folds = 5"),
        (table(1, 10), 5, r"at least two classes. Received: A\."),
        ([*table(2, 5), ucf("Z", 1), ucf("Z", 2)], 5, r"at least 3 groups .* Received: 2 in .* Z"),
        ([*table(2, 5), ucf("Z", 1, 1), ucf("Z", 1, 2)], 5, r"Received: 1 in class Z"),
        # Copies of one clip are one clip.
        (
            [*table(2, 5), *(ucf("Z", group, 1, sha256="same") for group in range(1, 6))],
            5,
            r"Received: 1 in class Z",
        ),
    ],
    ids=["more folds than groups", "one class", "two groups", "one group", "copies"],
)
def test_tables_that_cannot_be_split(clips, folds, message):
    with pytest.raises(UserError, match=message):
        splits.assign(clips, folds, SEED)


def three_groups_each() -> list[Clip]:
    return [
        ucf(label, group)
        for label, first in (("A", 1), ("B", 4))
        for group in range(first, first + 3)
    ]


def three_files_each() -> list[Clip]:
    return [make_clip(f"{label}/{i}.mp4") for label in "AB" for i in range(3)]


@pytest.mark.parametrize("clips", [three_groups_each(), three_files_each()], ids=["ucf", "free"])
def test_few_clips_a_class_and_more_folds(clips):
    # Six groups are enough for five folds, though no class has a clip in each of them.
    try:
        rows = splits.assign(clips, 5, SEED)
    except UserError:
        return
    assert {row.group_fold for row in rows} == set(range(5))


def test_a_class_with_no_clip_to_train_on():
    classes = ["Jump", "Run", "Swim"]
    splits.check_trainable(np.array([2, 0, 1, 1]), classes)
    with pytest.raises(UserError, match=r"Received: none of Run, Swim outside"):
        splits.check_trainable(np.array([0, 0]), classes)


def test_groups_with_near_duplicates_are_joined_along_chains():
    clips = [*table(2, 5, 1), ucf("A", 2, 2)]
    a, b = ({f"g{i:02}": f"{x}/v_{x}_g{i:02}_c01.avi" for i in range(1, 6)} for x in "AB")
    alike = [(a["g05"], a["g03"]), (a["g03"], a["g02"]), (b["g04"], b["g05"])]
    merged = splits.merge_groups(clips, alike)
    assert [clip.clip for clip in merged] == [clip.clip for clip in clips]
    assert [clip.group for clip in merged] == [
        *["g01", "g02", "g02", "g04", "g02"],  # of A
        *["g01", "g02", "g03", "g04", "g04"],  # of B
        "g02",
    ]
    assert splits.merge_groups(clips, []) == clips


@settings(deadline=None, max_examples=25)
@given(clips=st.one_of(tables(), named_freely()), data=st.data())
def test_near_duplicates_are_never_in_two_group_folds(clips, data):
    names = st.sampled_from([clip.clip for clip in clips])
    alike = data.draw(st.lists(st.tuples(names, names), max_size=4))
    try:
        rows = {row.clip: row for row in splits.assign(clips, 3, SEED, alike=alike)}
    except UserError:  # too few groups are left
        return
    for one, other in alike:
        assert rows[one].group == rows[other].group
        folds = {rows[one].group_fold, rows[other].group_fold} - {None}
        assert len(folds) <= 1


def test_groups_that_are_joined_count_once():
    clips = table(2, 3, 1)
    alike = [(clips[0].clip, clips[1].clip)]
    splits.assign(clips, 3, SEED)
    with pytest.raises(UserError, match=r"Received: 2 in class A"):
        splits.assign(clips, 3, SEED, alike=alike)


def named(*groups: str) -> list[Clip]:
    """A clip of each group in each of two classes, as tables give them."""
    return [
        Clip(f"{label}/{group}.mp4", label, group, f"{label}{group}", 30, 25.0, 64, 32)
        for label in "AB"
        for group in groups
    ]


PEOPLE = ("anna", "ben", "carl", "dora", "eva", "finn", "group g07")


def test_groups_of_a_table_are_on_one_side_over_all_classes(in_tmp_path):
    rows = splits.assign(named(*PEOPLE), 3, SEED)
    fold_of = {row.clip: row.group_fold for row in rows}
    assert set(fold_of.values()) == {0, 1, 2}
    assert all(fold_of[f"A/{name}.mp4"] == fold_of[f"B/{name}.mp4"] for name in PEOPLE)
    splits.write(in_tmp_path / "split.csv", rows)
    groups = splits.read_groups(in_tmp_path / "split.csv")
    assert groups["A/anna.mp4"] == groups["B/anna.mp4"] == "anna"


def test_a_joined_group_of_a_table_is_joined_over_all_classes():
    merged = splits.merge_groups(named(*PEOPLE), [("A/ben.mp4", "B/dora.mp4")])
    joined = {clip.clip for clip in merged if clip.group == "ben"}
    assert joined == {"A/ben.mp4", "A/dora.mp4", "B/ben.mp4", "B/dora.mp4"}


def test_folds_of_a_table_are_taken():
    fixed = {"A/anna.mp4": 2, "B/anna.mp4": 2, "B/ben.mp4": 2, "A/carl.mp4": 0}
    rows = splits.assign(named(*PEOPLE), 3, SEED, fixed=fixed)
    fold_of = {row.clip: row.group_fold for row in rows}
    assert fold_of.items() >= fixed.items()
    assert fold_of["A/ben.mp4"] == 2
    assert fold_of["B/carl.mp4"] == 0


def test_folds_of_a_table_that_cannot_be():
    with pytest.raises(UserError, match=r"from 0 to 2 in the table.* Received: 3 for A/anna.mp4"):
        splits.assign(named(*PEOPLE), 3, SEED, fixed={"A/anna.mp4": 3})
    apart = {"A/anna.mp4": 0, "B/ben.mp4": 1}
    splits.assign(named(*PEOPLE), 3, SEED, fixed=apart)
    with pytest.raises(UserError, match=r"group anna in one fold .* Received: 0 and 1"):
        splits.assign(named(*PEOPLE), 3, SEED, alike=[("A/anna.mp4", "B/ben.mp4")], fixed=apart)


def test_a_fold_that_a_table_leaves_empty():
    fixed = {f"A/{name}.mp4": i % 2 for i, name in enumerate(PEOPLE)}
    with pytest.raises(UserError, match=r"each of 3 folds. Received: none in fold 2"):
        splits.assign(named(*PEOPLE), 3, SEED, fixed=fixed)


def test_classes_that_a_fold_does_not_test_are_named():
    clips = [*table(2, 5, 1), *(ucf("C", group) for group in (1, 2, 4))]
    rows = splits.assign(clips, 5, SEED)
    assert splits.missing_folds(rows, 5) == [
        "Warning: class C has 3 groups for 5 folds. No clip of it is tested in fold 2, fold 4."
    ]
    assert splits.missing_folds(splits.assign(table(2, 5, 1), 5, SEED), 5) == []

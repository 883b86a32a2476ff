import pytest

from har import files
from har.clips import segments, splits
from har.clips.store import Clip
from har.errors import UserError
from har.params import SplitParams

LABELS = ("Archery", "HandstandPushups", "YoYo")
GROUPS = 25
# UCF101's own: each split tests seven groups of every class, and lists every clip.
TESTED = [range(1, 8), range(8, 15), range(15, 22)]


def clip(label: str, group: int, number: int = 1, sha256: str | None = None) -> Clip:
    name = f"{label}/v_{label}_g{group:02}_c{number:02}.avi"
    return Clip(name, label, segments.group_of(name) or name, sha256 or name, 30, 25.0, 64, 32)


CLIPS = [clip(label, group, n) for label in LABELS for group in range(1, 26) for n in (1, 2)]


def sides(one: Clip) -> tuple[str, str, str]:
    number = int(one.group[1:])
    return tuple("test" if number in tested else "train" for tested in TESTED)


OFFICIAL = {one.clip: sides(one) for one in CLIPS}


@pytest.fixture
def split_csv(tmp_path):
    def write(clips=CLIPS, official=OFFICIAL, folds=5):
        path = tmp_path / "split.csv"
        splits.write(path, splits.assign(clips, folds, 27, official))
        return path

    return write


def groups(clips: list[str]) -> set[tuple[str, str]]:
    return {(name.split("/")[0], segments.group_of(name) or name) for name in clips}


@pytest.mark.parametrize("folds", [3, 5, 10, GROUPS])
@pytest.mark.parametrize("fold", [0, 1, 2])
def test_test_clips_are_the_list_s_and_groups_stay_apart(split_csv, fold, folds):
    train, validation, test = splits.read(split_csv(folds=folds), "official", fold)
    assert set(test) == {name for name, side in OFFICIAL.items() if side[fold] == "test"}
    assert set(train) | set(validation) == set(OFFICIAL) - set(test)
    assert not set(train) & set(validation)
    assert not groups(train) & groups(validation)
    assert not groups(test) & (groups(train) | groups(validation))
    for part in (train, validation, test):
        assert {name.split("/")[0] for name in part} == set(LABELS)


def test_folds_validate_on_different_groups(split_csv):
    path = split_csv()
    parts = [frozenset(splits.read(path, "official", fold).validation) for fold in range(3)]
    assert len(set(parts)) == 3


def test_columns(split_csv):
    row = files.read_csv(split_csv(), {})[0]
    assert tuple(row) == splits.COLUMNS + splits.OFFICIAL_COLUMNS
    assert [row[column] for column in splits.OFFICIAL_COLUMNS] == ["test", "train", "train"]


def test_table_of_other_data_sets_is_as_it_was(split_csv):
    for official in ({}, None):
        assert tuple(files.read_csv(split_csv(official=official), {})[0]) == splits.COLUMNS


def test_other_protocols_are_as_they_were(split_csv, tmp_path):
    with_official = split_csv()
    kept = {p: splits.read(with_official, p, 1) for p in ("group", "random")}
    without = split_csv(official=None)
    assert kept == {p: splits.read(without, p, 1) for p in ("group", "random")}


def test_unlisted_clips_and_duplicates_stay_out(split_csv):
    extra = clip("YoYo", 3, 9)
    twice = clip("Archery", 2, 9, sha256=CLIPS[0].sha256)
    path = split_csv([*CLIPS, extra, twice], OFFICIAL | {twice.clip: ("test", "train", "train")})
    for fold in range(3):
        used = {name for part in splits.read(path, "official", fold) for name in part}
        assert used == set(OFFICIAL)


def test_data_set_without_official_splits(split_csv):
    with pytest.raises(UserError) as raises:
        splits.read(split_csv(official=None), "official", 0)
    assert "Received: one without" in str(raises.value)


@pytest.mark.parametrize("fold", [-1, 3, 24])
def test_fold_that_does_not_exist(split_csv, fold):
    with pytest.raises(UserError, match=f"Received: {fold}"):
        splits.read(split_csv(), "official", fold)


@pytest.mark.parametrize(("fold", "valid"), [(0, True), (2, True), (3, False)])
def test_params(fold, valid):
    section = {"protocol": "official", "folds": 5, "fold": fold, "merge_duplicates": True}
    if valid:
        assert SplitParams.model_validate(section).fold == fold
    else:
        with pytest.raises(ValueError, match="between 0 and 2"):
            SplitParams.model_validate(section)


def test_lists_that_leak_are_refused(split_csv):
    leaking = OFFICIAL | {CLIPS[0].clip: ("train", "train", "train")}
    with pytest.raises(UserError, match=r"g01 of Archery on both"):
        splits.read(split_csv(official=leaking), "official", 0)


def test_too_few_training_groups(split_csv):
    tested = dict.fromkeys(OFFICIAL, ("test", "train", "train"))
    with pytest.raises(UserError, match="Received: 150 clips and 0 folds"):
        splits.read(split_csv(official=tested), "official", 0)


def test_official_csv_is_read(tmp_path):
    path = tmp_path / "official.csv"
    path.write_text("clip,official_1,official_2,official_3\na/b.avi,test,train,\n")
    assert splits.read_official(path) == ({"a/b.avi": ("test", "train", "")}, {})
    path.write_text("clip,official_1,official_2,official_3\n")
    assert splits.read_official(path) == ({}, {})
    path.write_text("clip,fold\na/b.avi,2\n")
    assert splits.read_official(path) == ({}, {"a/b.avi": 2})

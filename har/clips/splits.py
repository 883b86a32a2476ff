"""Folds: which clips are for training, validation and test.

`group_fold` keeps a group, the clips cut from one source video, together and tests the same group
numbers in every class, as UCF50's protocol does (Reddy & Shah, MVA 2012). `random_fold` ignores
groups, as tutorials do, and leaks. `official_1` to `official_3` are UCF101's own splits.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from har import files
from har.clips.store import Clip, counts_in_class, source_of
from har.errors import UserError

COLUMNS = ("clip", "class", "group", "group_fold", "random_fold", "duplicate_of")
OFFICIAL_COLUMNS = ("official_1", "official_2", "official_3")


class Assignment(NamedTuple):
    """A row of split.csv; a fold is the one in which the clip is tested.

    Of clips with the same bytes all but one have no folds.
    """

    clip: str
    label: str  # column `class`
    group: str
    group_fold: int | None  # groups are kept apart
    random_fold: int | None  # they are not
    duplicate_of: str  # the clip of the same bytes that counts
    official_1: str = ""  # `train` or `test` in UCF101's first split, "" where it is not listed
    official_2: str = ""
    official_3: str = ""


class Subsets(NamedTuple):
    """Clips by use, each in the order of split.csv."""

    train: list[str]
    validation: list[str]
    test: list[str]


def assign(
    clips: Sequence[Clip],
    folds: int,
    seed: int,
    official: Mapping[str, tuple[str, str, str]] | None = None,
    alike: Iterable[tuple[str, str]] = (),
    fixed: Mapping[str, int] | None = None,
) -> list[Assignment]:
    """Give every clip a fold, of at least 3, under all protocols.

    By clip, `official` has the sides of the three official splits, and `fixed` the group folds that
    a table asks for, which count for the whole group. `alike` are pairs of clips whose groups are
    one. A `UserError` says where the clips allow no such folds.
    """
    merged = merge_groups(clips, alike)
    first: dict[str, Clip] = {}
    for clip in merged:
        if first.setdefault(clip.sha256, clip).label != clip.label:
            raise UserError(
                f"{first[clip.sha256].clip} and {clip.clip} have the same bytes in two classes. "
                "Remove the one whose class is wrong."
            )
    unique = [clip for clip in merged if first[clip.sha256] is clip]
    labels = [clip.label for clip in unique]
    _check(unique, folds, joined=merged != list(clips))
    names = [clip.clip for clip in unique]
    group_folds = dict(zip(names, _group_folds(unique, folds, seed, fixed or {}), strict=True))
    random_folds = dict.fromkeys(names, 0)
    with warnings.catch_warnings():
        # A class with fewer clips than folds is missing from some random folds; that is all.
        warnings.simplefilter("ignore", UserWarning)
        shuffled = StratifiedKFold(folds, shuffle=True, random_state=seed)
        for fold, (_, test) in enumerate(shuffled.split(labels, labels)):
            random_folds.update((names[i], fold) for i in test)
    return [
        Assignment(
            clip.clip,
            clip.label,
            clip.group,
            group_folds.get(clip.clip),
            random_folds.get(clip.clip),
            "" if clip.clip in group_folds else first[clip.sha256].clip,
            *(official or {}).get(clip.clip, ("", "", "")),
        )
        for clip in merged
    ]


def join_groups(clips: Sequence[Clip], alike: Iterable[tuple[str, str]]) -> list[list[Clip]]:
    """Return the clips of each group, after the groups of each pair of clips `alike` are joined."""
    source = {clip.clip: source_of(clip.label, clip.group) for clip in clips}
    groups = DisjointSet(source.values())
    for one, other in alike:
        groups.merge(source[one], source[other])
    joined = defaultdict(list)
    for clip in clips:
        joined[groups[source[clip.clip]]].append(clip)
    return list(joined.values())


def merge_groups(clips: Sequence[Clip], alike: Iterable[tuple[str, str]]) -> list[Clip]:
    """Give joined groups one name, the one that sorts first; the clips keep their order."""
    name = {
        clip.clip: min(other.group for other in group)
        for group in join_groups(clips, alike)
        for clip in group
    }
    return [replace(clip, group=name[clip.clip]) for clip in clips]


def _group_folds(
    clips: Sequence[Clip], folds: int, seed: int, fixed: Mapping[str, int]
) -> list[int]:
    names = sorted({clip.group for clip in clips})
    if all(map(counts_in_class, names)) or len(names) == folds:
        # With as many folds as groups this is leave-one-group-out: fold 0 tests g01, and so on.
        fold_of = {group: rank % folds for rank, group in enumerate(names)}
    else:
        # Names say nothing of the order: scikit-learn balances classes over the folds.
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        labels, groups = zip(*((clip.label, clip.group) for clip in clips), strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # `missing_folds` says it
            split = enumerate(splitter.split(labels, labels, groups))
            fold_of = {groups[i]: fold for fold, (_, test) in split for i in test}
    asked: dict[str, int] = {}
    for clip in clips:
        if (fold := fixed.get(clip.clip)) is None:
            continue
        if fold >= folds:
            raise UserError(
                f"Expected folds from 0 to {folds - 1} in the table, by split.folds. "
                f"Received: {fold} for {clip.clip}. Change one of the two."
            )
        if asked.setdefault(clip.group, fold) != fold:
            raise UserError(
                f"Expected all clips of group {clip.group} in one fold of the table. Received: "
                f"{asked[clip.group]} and {fold}. Correct the table or, where near-duplicates "
                "joined groups, set split.merge_duplicates: false."
            )
    if asked:  # the largest of the other groups first, each to the fold with the fewest clips
        sizes, loads = Counter(clip.group for clip in clips), [0] * folds
        for group, size in sorted(sizes.items(), key=lambda item: (item[0] not in asked, -item[1])):
            fold_of[group] = asked.get(group, loads.index(min(loads)))
            loads[fold_of[group]] += size
    found = [fold_of[clip.group] for clip in clips]
    if empty := sorted(set(range(folds)) - set(found)):
        raise UserError(
            f"Expected clips in each of {folds} folds. Received: none in fold {empty[0]}. "
            "Lower split.folds, or change the folds of the table."
        )
    return found


def missing_folds(rows: Iterable[Assignment], folds: int) -> list[str]:
    """Return a warning for each class of which a fold tests no clip."""
    found = defaultdict(set)
    for row in rows:
        if row.group_fold is not None:
            found[row.label].add((row.group_fold, row.group))
    return [
        f"Warning: class {label} has {len(pairs)} groups for {folds} folds. No clip of it is "
        f"tested in {', '.join(f'fold {fold}' for fold in missing)}."
        for label, pairs in sorted(found.items())
        if (missing := sorted(set(range(folds)) - {fold for fold, _ in pairs}))
    ]


def _check(clips: Sequence[Clip], folds: int, joined: bool) -> None:
    groups = defaultdict(set)
    for clip in clips:
        groups[clip.label].add(clip.group)
    if len(groups) < 2:
        raise UserError(
            f"Expected at least two classes. Received: {', '.join(groups)}. Add another class."
        )
    hint = " Or, as near-duplicates joined groups, set split.merge_duplicates: false." * joined
    fewest = min(groups, key=lambda label: len(groups[label]))
    if len(groups[fewest]) < 3:
        raise UserError(
            "Expected at least 3 groups (source videos) in every class, for training, validation "
            f"and test. Received: {len(groups[fewest])} in class {fewest}. "
            f"Add source videos or leave the class out with dataset.classes.{hint}"
        )
    most = max(Counter(clip.label for clip in clips).values())
    n_groups = len(set().union(*groups.values()))
    for limit, what, remedy in (
        (most, "clips of the largest class", "clips."),
        (n_groups, "groups", f"source videos.{hint}"),
    ):
        if limit < folds:
            raise UserError(
                f"Expected split.folds ≤ the number of {what}, {limit}. "
                f"Received: split.folds = {folds}. Lower it or add {remedy}"
            )


def write(path: Path, assignments: Sequence[Assignment]) -> None:
    """Write split.csv, with the official columns where any clip has a side in them."""
    columns = COLUMNS
    if any(side for row in assignments for side in row[len(COLUMNS) :]):
        columns += OFFICIAL_COLUMNS
    files.write_csv(path, columns, [row[: len(columns)] for row in assignments])


def read_official(path: Path) -> tuple[dict[str, tuple[str, str, str]], dict[str, int]]:
    """Read official.csv: by clip the sides of official splits, and the folds of a table."""
    rows = files.read_csv(path, {"clip": str})
    listed = [row for row in rows if OFFICIAL_COLUMNS[0] in row]
    try:
        sides = {row["clip"]: tuple(row[column] for column in OFFICIAL_COLUMNS) for row in listed}
        return sides, {row["clip"]: int(row["fold"]) for row in rows if row.get("fold")}
    except (KeyError, ValueError) as error:
        raise files.damaged(path, repr(error)) from None


def read(path: Path, protocol: str, fold: int) -> Subsets:
    """Read split.csv and return the clips of one fold of a protocol by their use.

    Test is fold `fold`, validation the next one (after the last, the first), training the rest.
    Under `official`, fold k is `official_{k+1}`: test is its test list, validation one group
    fold of its training list. Except under `random` no group is in two of the three.
    """
    try:
        rows = files.read_csv(path, dict.fromkeys(COLUMNS, str))
        rows = [row for row in rows if not row["duplicate_of"]]
        if protocol == "official":
            return _read_official_fold(rows, fold)
        fold_of = {row["clip"]: int(row[f"{protocol}_fold"]) for row in rows}
        folds = max(fold_of.values()) + 1
    except (LookupError, ValueError) as error:
        raise files.damaged(path, repr(error)) from None
    if not 0 <= fold < folds:
        raise UserError(
            f"Expected split.fold between 0 and {folds - 1}. Received: {fold}. "
            f"Change it, or raise split.folds and run `dvc repro split`."
        )
    subsets = Subsets([], [], [])
    use = {fold: subsets.test, (fold + 1) % folds: subsets.validation}
    for clip, own in fold_of.items():
        use.get(own, subsets.train).append(clip)
    return subsets


def _read_official_fold(rows: Sequence[dict[str, str]], fold: int) -> Subsets:
    if OFFICIAL_COLUMNS[0] not in rows[0]:
        raise UserError(
            "Expected a data set with official splits for split.protocol: official. Received: one "
            "without. Set dataset.name: ucf101, or split.protocol: group."
        )
    if not 0 <= fold < len(OFFICIAL_COLUMNS):
        raise UserError(
            "Expected split.fold 0, 1 or 2 with split.protocol: official, which has three splits. "
            f"Received: {fold}. Change it."
        )
    test, training = (
        [row for row in rows if row[OFFICIAL_COLUMNS[fold]] == side] for side in ("test", "train")
    )
    tested = {(row["class"], row["group"]) for row in test}
    if leaks := sorted({(r["class"], r["group"]) for r in training} & tested):
        raise UserError(
            f"Expected every group on one side of {OFFICIAL_COLUMNS[fold]}. Received: group "
            f"{leaks[0][1]} of {leaks[0][0]} on both. Fetch UCF101 and its lists again."
        )
    # Some group folds may hold test groups only (all of them where folds = groups).
    group_folds = sorted({int(row["group_fold"]) for row in training})
    if not test or len(group_folds) < 2:
        raise UserError(
            f"Expected test clips and two group folds of training clips in "
            f"{OFFICIAL_COLUMNS[fold]}. Received: {len(test)} clips and {len(group_folds)} folds. "
            "Take more of UCF101, or raise split.folds."
        )
    validation = str(group_folds[fold % len(group_folds)])
    return Subsets(
        [row["clip"] for row in training if row["group_fold"] != validation],
        [row["clip"] for row in training if row["group_fold"] == validation],
        [row["clip"] for row in test],
    )


def count(path: Path) -> int:
    """Return the number of group folds in split.csv."""
    rows = files.read_csv(path, dict.fromkeys(COLUMNS, str))
    return len({row["group_fold"] for row in rows if not row["duplicate_of"]})


def read_groups(path: Path) -> dict[str, str]:
    """Return the source video of every clip, unique over classes."""
    rows = files.read_csv(path, dict.fromkeys(COLUMNS, str))
    return {row["clip"]: source_of(row["class"], row["group"]) for row in rows}


def check_trainable(labels: np.ndarray, classes: Sequence[str]) -> None:
    """Raise a `UserError` where a class is not among the labels, int (N,), of training clips."""
    missing = [name for i, name in enumerate(classes) if i not in labels]
    if missing:
        raise UserError(
            f"Expected clips of every class to train on. Received: none of {', '.join(missing)} "
            "outside the test and the validation fold. Raise split.folds, choose another "
            "split.fold or add source videos."
        )

"""Give every clip a fold.

Command: python stages/split.py
Inputs: data/clips.csv, data/frames.h5, data/official.csv; params.yaml (seed, split).
Outputs: data/split.csv
Cost: seconds; near-duplicates are looked for in all frames.
"""

from pathlib import Path

from har.clips import duplicates, splits, store
from har.clips.store import Clip, source_of
from har.files import run_stage
from har.params import load

SPLIT = Path("data/split.csv")
MOST_PAIRS = 1_000_000


def split() -> None:
    """Write the folds of all protocols."""
    params = load()
    clips = store.read_clips(Path("data/clips.csv"))
    sides, fixed = splits.read_official(Path("data/official.csv"))
    folds = params.split.folds
    # Official splits are compared with those of papers, so they stay as they are.
    merge = params.split.merge_duplicates and params.split.protocol != "official"
    alike = _find_alike(clips) if merge else []
    assignments = splits.assign(clips, folds, params.seed, sides, alike, fixed)
    splits.write(SPLIT, assignments)
    groups = {source_of(row.label, row.group) for row in assignments}
    print(f"{SPLIT}: {len(clips)} clips in {len(groups)} groups, {folds} folds")
    for row in assignments:
        if row.duplicate_of:
            print(f"left out: {row.clip} has the bytes of {row.duplicate_of}")
    for warning in splits.missing_folds(assignments, folds):
        print(warning)


def _find_alike(clips: list[Clip]) -> list[tuple[str, str]]:
    with store.FrameStore(Path("data/frames.h5")) as frames:
        hashes = duplicates.hash_store(frames, clips)
    pairs = duplicates.across_groups(clips, hashes, MOST_PAIRS)
    alike = [(pair.first, pair.second) for pair in pairs]
    for joined in splits.join_groups(clips, alike):
        names = sorted({source_of(clip.label, clip.group) for clip in joined})
        if len(names) > 1:
            inside = {clip.clip for clip in joined}
            like = next(f"{one} ~ {other}" for one, other in alike if one in inside)
            print(f"joined, as clips look alike: {', '.join(names)} (as {like})")
    return alike


if __name__ == "__main__":
    run_stage(split)

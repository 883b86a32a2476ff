"""Give every clip a fold.

Command: python stages/split.py
Inputs: data/clips.csv, data/official.csv; params.yaml (seed, split.folds).
Outputs: data/split.csv
Cost: a second.
"""

from pathlib import Path

from har.clips import splits, store
from har.errors import run
from har.params import load

CLIPS = Path("data/clips.csv")
OFFICIAL = Path("data/official.csv")
SPLIT = Path("data/split.csv")


def split() -> None:
    """Write the folds of all protocols."""
    params = load()
    clips = store.read_clips(CLIPS)
    official = splits.read_official(OFFICIAL)
    assignments = splits.assign(clips, params.split.folds, params.seed, official)
    splits.write(SPLIT, assignments)
    groups = {(row.label, row.group) for row in assignments}
    print(f"{SPLIT}: {len(clips)} clips in {len(groups)} groups, {params.split.folds} folds")
    for row in assignments:
        if row.duplicate_of:
            print(f"left out: {row.clip} has the bytes of {row.duplicate_of}")


if __name__ == "__main__":
    run(split)

"""Decode every clip and keep its frames.

Command: python stages/extract.py
Inputs: data/fetched; params.yaml (frames, dataset.group_pattern).
Outputs: data/frames.h5, uint8 RGB; data/clips.csv, the clips that decode; data/rejected.csv,
    the files that do not, with the reason.
Cost: all cores, about 10 ms a clip of UCF50's kind; T·H·W·3 bytes a clip on disk (1.6 GB for UCF50
    at 20 × 64 × 64).
"""

from pathlib import Path

from har import files
from har.clips import extraction, segments, store
from har.params import load

FRAMES, REJECTED = Path("data/frames.h5"), Path("data/rejected.csv")


def extract() -> None:
    """Decode data/fetched and write the store and the tables."""
    params = load()
    frames, pattern = params.frames, params.dataset.group_pattern
    shape = (frames.count, frames.height, frames.width)
    videos = Path("data/fetched")
    clips, rejected = extraction.extract(videos, shape, FRAMES, group_pattern=pattern)
    store.write_clips(Path("data/clips.csv"), clips)
    files.write_csv(REJECTED, ("clip", "class", "reason"), rejected)
    print(f"{FRAMES}: {len(clips)} clips, {FRAMES.stat().st_size / 1e6:,.0f} MB")
    groups = {clip.clip: clip.group if clip.group != clip.clip else None for clip in clips}
    print(segments.describe_groups(groups))
    for row in rejected:
        print(f"rejected: {row.clip}: {row.reason}")
    if rejected:
        print(f"{REJECTED}: {len(rejected)} files left out")


if __name__ == "__main__":
    files.run_stage(extract)

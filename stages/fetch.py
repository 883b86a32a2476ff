"""Bring the clips of a data set to data/fetched.

Command: python stages/fetch.py
Inputs: params.yaml (dataset); what dataset.path names.
Outputs: data/fetched/Class/clip.ext, or for `table` data/fetched/_sources/video.ext and
    data/fetched/segments.csv; data/official.csv, the sides of UCF101's official splits, the folds
    of a table, or its header alone.
Cost: `sample` renders 720 clips in half a minute on 2 cores; `folder` and `table` link, in
    seconds; UCF50 is 3.2 GB to download, UCF101 7 GB, and about as much to unpack.
"""

import importlib
import shutil
from pathlib import Path

from har import datasets, files
from har.clips import segments
from har.params import load

VIDEOS = Path("data/fetched")


def fetch() -> None:
    """Fetch into `.work/`, then make it the output."""
    dataset = load().dataset
    source = importlib.import_module(f"har.datasets.{dataset.name}")
    modules = sorted(Path(datasets.__file__).parent.rglob("*.py"))
    unfinished = files.folder("fetch", files.digest(dataset.model_dump(), *modules))
    source.fetch(dataset, unfinished)
    if table := segments.read(unfinished):
        groups = {name: segment.group for name, segment in table.items()}
    else:
        clips = (path for path in unfinished.rglob("*") if path.is_file())
        names = [clip.relative_to(unfinished).as_posix() for clip in clips]
        groups = {name: segments.group_of(name, dataset.group_pattern) for name in names}
    folds = [(name, s.fold) for name, s in (table or {}).items() if s.fold is not None]
    header = ("clip", "fold") if folds else ("clip", "official_1", "official_2", "official_3")
    if not folds and hasattr(source, "official_splits"):
        folds = source.official_splits(dataset, unfinished)
    files.write_csv(Path("data/official.csv"), header, folds)
    files.publish(unfinished, VIDEOS)
    shutil.rmtree(files.folder("fetch"))
    classes = {name.split("/")[0] for name in groups}
    print(f"{VIDEOS}: {len(groups)} clips of {len(classes)} classes from {dataset.name}")
    print(segments.describe_groups(groups))
    if any(path.is_file() for path in Path("data/videos").rglob("*")):  # of earlier versions
        print("data/videos is no longer used and stays as it is. Keep your own clips in videos/.")


if __name__ == "__main__":
    files.run_stage(fetch)

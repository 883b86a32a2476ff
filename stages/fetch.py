"""Bring the clips of a data set to data/videos.

Command: python stages/fetch.py
Inputs: params.yaml (dataset); what dataset.path names, for `folder`, and where it is there for
    `ucf50` and `ucf101`, which are downloaded else.
Outputs: data/videos/Class/clip.ext; data/official.csv, the sides of UCF101's official splits, and
    for other data sets its header alone; checksums.json, not an output of the pipeline, where an
    archive without a published checksum is seen for the first time.
Cost: `sample` renders 720 clips in half a minute on 2 cores; `folder` links, in seconds; UCF50
    is 3.2 GB to download, UCF101 7 GB, and about as much to unpack. The archive stays in
    .work/downloads.
"""

import importlib
import shutil
from pathlib import Path

from har import datasets, files
from har.datasets import official_splits
from har.errors import run
from har.params import load

VIDEOS = Path("data/videos")
OFFICIAL = Path("data/official.csv")


def fetch() -> None:
    """Fetch into `.work/`, then make it the output."""
    dataset = load().dataset
    source = importlib.import_module(f"har.datasets.{dataset.name}")
    modules = sorted(Path(datasets.__file__).parent.glob("*.py"))
    unfinished = files.folder("fetch", files.digest(dataset.model_dump(), *modules))
    source.fetch(dataset, unfinished)
    classes = sorted(path for path in unfinished.iterdir() if path.is_dir())
    n_clips = sum(1 for path in unfinished.rglob("*") if path.is_file())
    rows = []
    if hasattr(source, "official_splits"):
        rows = source.official_splits(dataset, unfinished)
    official_splits.write(OFFICIAL, rows)
    files.publish(unfinished, VIDEOS)
    shutil.rmtree(files.folder("fetch"))
    print(f"{VIDEOS}: {n_clips} clips of {len(classes)} classes from {dataset.name}")


if __name__ == "__main__":
    run(fetch)

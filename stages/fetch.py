"""Bring the clips of a data set to data/videos.

Command: python stages/fetch.py
Inputs: params.yaml (dataset); for `folder`, the clips below dataset.path.
Outputs: data/videos/Class/clip.ext
Cost: `sample` renders 480 clips in half a minute on 2 cores; `folder` links, in seconds.
"""

import importlib
import shutil
from pathlib import Path

from har import datasets, work
from har.errors import run
from har.params import load

VIDEOS = Path("data/videos")


def fetch() -> None:
    """Fetch into `.work/`, then make it the output."""
    dataset = load().dataset
    source = importlib.import_module(f"har.datasets.{dataset.name}")
    modules = sorted(Path(datasets.__file__).parent.glob("*.py"))
    unfinished = work.folder("fetch", work.digest(dataset.model_dump(), *modules))
    source.fetch(dataset, unfinished)
    classes = sorted(path for path in unfinished.iterdir() if path.is_dir())
    n_clips = sum(1 for path in unfinished.rglob("*") if path.is_file())
    work.publish(unfinished, VIDEOS)
    shutil.rmtree(work.folder("fetch"))
    print(f"{VIDEOS}: {n_clips} clips of {len(classes)} classes from {dataset.name}")


if __name__ == "__main__":
    run(fetch)

"""A trial of the comparison: one training and its test, each made once."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import keras

from har import files
from har.clips import splits
from har.clips.store import FrameStore
from har.errors import UserError
from har.evaluation import predictions, shortcuts, unknown
from har.evaluation.predictions import Predictions
from har.nn import familiarity
from har.nn.model_files import load_model
from har.params import Params, Trial
from har.training import batches
from har.training import run as training

PACKAGE = Path(__file__).parents[1]
KEPT = (*training.CONTENT, "card.json")
TABLES = ("predictions.csv", "unknown.csv", "shortcuts.csv")


def run(
    trial: Trial,
    params: Params,
    output: Path,
    *,
    data: Path = Path("data"),
    features: Path = Path("data/features"),
    finished: Path | None = None,
    with_shortcuts: bool = True,
) -> dict[str, Any]:
    """Train and test an approach on one fold from one seed; return the card of its model folder.

    What `output` has of it already stays. Where `finished`, another model folder, is the same
    training, it is copied. The folder gets `predictions.csv`, `unknown.csv` and, of networks that
    see frames, `shortcuts.csv`, which can be left out. Kill it at any time: the next call goes on
    and writes the same bytes.
    """
    with_shortcuts = with_shortcuts and trial.approach not in params.features
    key = training.key_of(trial, params, data=data, features=features)
    rooms = (PACKAGE / name for name in ("clips", "datasets", "evaluation"))
    code = sorted(path for room in rooms for path in room.rglob("*.py"))
    tested = files.digest(key, with_shortcuts, cv2.__version__, Path(__file__), *code)
    tables = TABLES[: 2 + with_shortcuts]
    if (card := _card(output, key)).get("tested") == _with_tables(tested, output, tables):
        return card
    scratch = files.folder("trials", str(trial))
    keras.utils.clear_session()  # names of layers count from 1, as in a process of its own
    for folder in (output, finished):
        if folder is not None and not _card(scratch, key) and _card(folder, key):
            for name in KEPT:
                shutil.copyfile(folder / name, scratch / name)
    if not _card(scratch, key):
        training.train(trial, params, scratch, data=data, features=features)
        keras.utils.clear_session()
    model = load_model(scratch / "model.keras")
    if trial.approach in params.features:
        model = model.layers[-1]  # the head: features of the clips are there
    clips = splits.read(data / "split.csv", trial.protocol, trial.fold).test
    with training.open_source(trial, params, data, features) as source:
        known = familiarity.load(scratch / familiarity.FILE)
        settings = {"dataset": params.dataset.name, "seed": trial.seed, "data": data}
        settings |= {"batch": params.recipe(trial.approach).batch}
        found = test(model, known, source, clips, **settings, with_shortcuts=with_shortcuts)
    for stray in {*scratch.iterdir()} - {scratch / name for name in KEPT}:
        stray.unlink()  # a killed run left it
    predictions.write(scratch / TABLES[0], found[0])
    files.write_csv(scratch / TABLES[1], unknown.COLUMNS, found[1])
    if with_shortcuts:
        files.write_csv(scratch / TABLES[2], shortcuts.COLUMNS, found[2])
    card = _card(scratch, key) | {"tested": _with_tables(tested, scratch, tables)}
    files.write_json(scratch / "card.json", card)
    files.publish(scratch, output)
    return card


def test(
    model: keras.Model,
    known: familiarity.Familiarity,
    source: FrameStore,
    clips: list[str],
    *,
    dataset: str,
    seed: int,
    batch: int,
    data: Path = Path("data"),
    with_shortcuts: bool = True,
) -> tuple[Predictions, list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Test a model on clips of a store; a batch of them is in memory at a time.

    Returns its predictions, the rows of `har.evaluation.unknown`, and `with_shortcuts` those of
    `har.evaluation.shortcuts`.
    """
    groups = splits.read_groups(data / "split.csv")
    predict = partial(batches.predict, familiarity.seeing(model), batch=batch)
    probabilities, x = predict(batches.StoredFrames(source, clips))
    labels, classes = source.labels_of(clips), source.classes
    said = Predictions(clips, [groups[clip] for clip in clips], labels, probabilities, classes)
    strange = unknown.test(known, x, *said[:3], classes)
    if not with_shortcuts:
        return said, strange, []
    return said, strange, shortcuts.test(predict, said, source, dataset, seed)


def _card(folder: Path, key: str) -> dict[str, Any]:
    """Return the card of a folder that holds the training of `key`, undamaged; else nothing."""
    try:
        card = files.read_json(folder / "card.json")
        whole = (card.get("key"), card.get("content")) == (key, training.content_of(folder))
    except (UserError, OSError):
        return {}
    return card if whole else {}


def _with_tables(key: str, folder: Path, names: Sequence[str]) -> str:
    there = [folder / name for name in names if (folder / name).is_file()]
    return files.digest(key, *there)

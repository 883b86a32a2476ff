"""A trial of the comparison: one training and its test, neither of them made twice."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

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
    if not _has(output, key):
        keras.utils.clear_session()  # names of layers count from 1, as in a process of its own
        if finished is not None and _has(finished, key):
            copy = files.folder("trials") / str(trial)
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(finished, copy, copy_function=shutil.copyfile)
            files.publish(copy, output)
        else:
            training.train(trial, params, output, data=data, features=features)
    code = [*(PACKAGE / "evaluation").glob("*.py"), *(PACKAGE / "datasets").rglob("*.py")]
    key = files.digest(key, with_shortcuts, Path(__file__), *sorted(code))
    card = files.read_json(output / "card.json")
    tables = [output / name for name in TABLES[: 2 + with_shortcuts]]
    if all(table.exists() for table in tables) and card.get("tested") == files.digest(key, *tables):
        return card
    keras.utils.clear_session()
    model = load_model(output / "model.keras")
    if trial.approach in params.features:
        model = model.layers[-1]  # the head: features of the clips are there
    clips = splits.read(data / "split.csv", trial.protocol, trial.fold).test
    with training.open_source(trial, params, data, features) as source:
        known = familiarity.load(output / familiarity.FILE)
        said, strange, leaning = test(
            model,
            known,
            source,
            clips,
            dataset=params.dataset.name,
            seed=trial.seed,
            batch=params.recipe(trial.approach).batch,
            data=data,
            with_shortcuts=with_shortcuts,
        )
    predictions.write(output / "predictions.csv", said)
    files.write_csv(output / "unknown.csv", unknown.COLUMNS, strange)
    if with_shortcuts:
        files.write_csv(output / "shortcuts.csv", shortcuts.COLUMNS, leaning)
    else:
        (output / "shortcuts.csv").unlink(missing_ok=True)
    card["tested"] = files.digest(key, *tables)
    files.write_json(output / "card.json", card)
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


def _has(folder: Path, key: str) -> bool:
    """Return whether a model folder holds the training of `key`, undamaged."""
    try:
        card = files.read_json(folder / "card.json")
        return (card.get("key"), card.get("content")) == (key, training.content_of(folder))
    except (UserError, OSError):
        return False

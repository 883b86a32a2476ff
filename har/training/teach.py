"""From a folder of clips to the best network: features of I3D and a linear classifier.

Every clip is tested once, by a classifier that saw no clip of its source video. The model that is
kept then learns from all clips.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from har import files
from har.backbones import joined_model
from har.backbones.feature_store import FeatureStore
from har.clips import splits
from har.evaluation import unknown
from har.evaluation.predictions import Predictions
from har.nn import familiarity, model_files
from har.params import Params, Trial
from har.training import calibration, linear
from har.training.run import describe


def teach(
    params: Params, output: Path, data: Path = Path("data")
) -> tuple[Predictions, list[tuple[str, ...]], dict[str, Any]]:
    """Cross-validate the classifier, fit it on all clips, and write its model folder.

    Of each fold, the penalty is chosen on the validation fold, and the classifier is fitted on
    training and validation clips. Returns the out-of-fold predictions of all clips, the rows of
    `har.evaluation.unknown`, and the card.
    """
    split = data / "split.csv"
    groups = splits.read_groups(split)
    with FeatureStore(data / "features" / "i3d.h5") as store:
        classes = store.classes
        folds = [splits.read(split, "group", fold) for fold in range(splits.count(split))]
        clips = [clip for fold in folds for clip in fold.test]
        features, labels = store.read(clips)
    i3d = importlib.import_module("har.models.i3d")
    head = i3d.build(len(classes), store.shape, params.approach("i3d"), params.recipe("i3d"), 0)
    x, row = linear.summaries(head, features), {clip: i for i, clip in enumerate(clips)}
    probabilities = np.zeros((len(clips), len(classes)))
    parts, temperatures, scores, rows = [], [], [], []
    for fold in folds:
        train, validation, test = (np.array([row[clip] for clip in part]) for part in fold)
        splits.check_trainable(labels[train], classes)
        part = x[train], labels[train], x[validation], labels[validation]
        strength = linear.choose([part], len(classes))
        said = linear.fit(*part[:2], strength).probabilities(x[validation])
        temperatures.append(calibration.temperature(said[:, None], labels[validation]))
        both = np.concatenate([train, validation])
        fitted = linear.fit(x[both], labels[both], strength)
        probabilities[test] = fitted.probabilities(x[test], temperatures[-1])
        parts.append(part)
        known = familiarity.fit(x[both], labels[both])
        scores.append(np.asarray(known.score(x[test])))
        names = fold.test, [groups[clip] for clip in fold.test], labels[test]
        rows += unknown.test(known, x[test], *names, classes)
    strength = linear.choose(parts, len(classes))
    temperature = float(np.median(temperatures))
    kernel, bias = linear.fit(x, labels, strength)
    head.get_layer("classes").set_weights([kernel / temperature, bias / temperature])
    model, joined = joined_model.join(head, store.facts, params.backbones)
    trial = Trial("i3d", "group", None, params.seed)  # all clips; the figures are of the folds
    passing = familiarity.threshold(np.concatenate(scores))
    card = describe(trial, store, params, data, clips, clips, temperature, passing) | {
        "parameters": model.count_params(),
        "strength": strength,
        **joined,
    }
    folder = files.folder("teach")
    model_files.save_model(model, folder / "model.keras")
    files.write_json(folder / "card.json", card)
    familiarity.save(folder / familiarity.FILE, familiarity.fit(x, labels))
    files.publish(folder, output)
    tested = Predictions(clips, [groups[clip] for clip in clips], labels, probabilities, classes)
    return tested, rows, card

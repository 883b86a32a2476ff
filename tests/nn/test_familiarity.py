from pathlib import Path

import keras
import numpy as np
import pytest

from har.backbones import joined_model
from har.nn import familiarity, model_files

RNG = np.random.default_rng(0)
LABELS = np.arange(40) % 4
X = RNG.normal(size=(40, 6)) * (1, 1, 5, 1, 0.1, 0) + 3 * np.eye(6)[LABELS]


def score_by_hand(x, train, labels):
    """Ren et al. 2021 with diagonal covariances, a number at a time."""
    means = [train[labels == label].mean(axis=0) for label in np.unique(labels)]
    place = np.unique(labels, return_inverse=True)[1]
    residuals = train - np.stack(means)[place]
    scores = []
    for row in x:
        near, far = [], []
        for d in range(train.shape[1]):
            total = train[:, d].std()
            if total < 1e-6:
                far.append(0.0)
                continue
            far.append(((row[d] - train[:, d].mean()) / total) ** 2)
        for mean in means:
            parts = []
            for d in range(train.shape[1]):
                within, total = residuals[:, d].std(), train[:, d].std()
                scale = max(within, 0.1 * total)
                parts.append(((row[d] - mean[d]) / scale) ** 2 if total >= 1e-6 else 0.0)
            near.append(np.mean(parts))
        scores.append(np.mean(far) - min(near))
    return np.array(scores)


def test_the_score_is_that_of_the_definition():
    known = familiarity.fit(X, LABELS)
    other = RNG.normal(size=(9, 6)) * 4
    found = np.asarray(known.score(other.astype(np.float32)))
    assert found == pytest.approx(score_by_hand(other, X, LABELS), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("label", range(4))
def test_a_class_left_out_was_never_seen(label):
    kept = label != LABELS
    fresh = familiarity.fit(X[kept], np.unique(LABELS[kept], return_inverse=True)[1])
    there = familiarity.fit(X, LABELS).without(label)
    rows = X.astype(np.float32)
    assert np.asarray(there.score(rows)) == pytest.approx(np.asarray(fresh.score(rows)), rel=1e-4)


def test_known_clips_are_more_familiar_than_others():
    known = familiarity.fit(X, LABELS)
    new = RNG.normal(size=(40, 6)) * (1, 1, 5, 1, 0.1, 0) + 3 * np.eye(6)[LABELS]
    strange = new + 2 * np.eye(6)[4]
    a, b = (np.asarray(known.score(x.astype(np.float32))) for x in (new, strange))
    assert a.min() > b.max()
    assert (b < familiarity.threshold(a)).all()


def test_the_threshold_lets_95_percent_pass():
    scores = np.arange(100.0)
    assert (scores >= familiarity.threshold(scores)).mean() == 0.95


def test_a_file_holds_it(tmp_path):
    known = familiarity.fit(X, LABELS)
    for name in ("a.npz", "b.npz"):
        familiarity.save(tmp_path / name, known)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for found, wanted in zip(familiarity.load(tmp_path / "a.npz"), known, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def small(inputs, views: int = 1):
    from har.nn.preprocessing import AverageViews

    x = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(inputs))
    x = keras.layers.Dense(3, activation="softmax", name="classes")(x)
    return keras.Model(inputs, AverageViews(views, name="views")(x) if views > 1 else x)


def test_the_network_gives_probabilities_and_the_margin():
    keras.utils.set_random_seed(1)
    model = small(keras.Input((4, 2)))
    clips = RNG.normal(size=(30, 4, 2)).astype(np.float32)
    _, x = familiarity.seeing(model).predict(clips, verbose=0)
    assert x.shape == (30, 5)
    known = familiarity.fit(x, np.arange(30) % 3)
    rows = familiarity.attach(model, known, 1.5).predict(clips, verbose=0)
    np.testing.assert_allclose(rows[:, :3], model.predict(clips, verbose=0), atol=1e-6)
    np.testing.assert_allclose(rows[:, 3], np.asarray(known.score(x)) - 1.5, rtol=1e-3, atol=1e-3)


def test_of_a_joined_model_it_is_what_the_head_sees():
    keras.utils.set_random_seed(1)
    clips = keras.Input((2, 4, 4, 3), dtype="uint8")
    backbone = keras.Model(clips, keras.layers.Reshape((2, 48))(clips / 255))
    head = small(keras.Input((2, 2, 48), name="features"))
    model = joined_model.joined_model(backbone, head, windows=2)
    shown = RNG.integers(0, 256, (6, 4, 4, 4, 3), np.uint8)
    features = (shown / 255).reshape(6, 2, 2, 48).astype(np.float32)
    _, expected = familiarity.seeing(head).predict(features, verbose=0)
    _, found = familiarity.seeing(model).predict(shown, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_loaded_model_may_have_any_names(in_tmp_path):
    """Keras names operations in the order of a process; those of a file come on top."""
    keras.backend.clear_session()
    clips = keras.Input((2, 4, 4, 3), dtype="uint8")
    backbone = keras.Model(clips, keras.layers.Reshape((2, 48))(clips / 255))
    head = small(keras.Input((2, 2, 48), name="features"))
    model_files.save_model(joined_model.joined_model(backbone, head, windows=2), Path("a.keras"))
    shown = RNG.integers(0, 256, (6, 4, 4, 4, 3), np.uint8)
    keras.backend.clear_session()
    model = model_files.load_model(Path("a.keras"))
    known = familiarity.fit(
        familiarity.seeing(model).predict(shown, verbose=0)[1], np.arange(6) % 3
    )
    keras.backend.clear_session()
    model = model_files.load_model(Path("a.keras"))
    assert familiarity.attach(model, known, 0.0).predict(shown, verbose=0).shape == (6, 4)


def test_hundreds_of_classes_fit_into_memory(run_python):
    code = """
import resource
import numpy as np
from har.nn import familiarity

def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

rng = np.random.default_rng(0)
known = familiarity.fit(rng.normal(size=(800, 512)), np.arange(800) % 400)
x = rng.normal(size=(1000, 512)).astype(np.float32)
known.score(x[:9])
before = used()
known.score(x)
print(used() - before)  # (N, C, D) would take 820 MB
"""
    done = run_python(code)
    assert float(done.stdout) < 100, done.stderr

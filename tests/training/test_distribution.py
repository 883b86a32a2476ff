import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from har.errors import UserError
from har.training import distribution

PROJECT = Path(__file__).resolve().parents[2]
pytest.importorskip("jax", reason="several devices need the extra jax")

# Trains once for each place of the frames that is named after the backup, and tells each result.
TRAIN = """
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from har.training import distribution

distribution.start()
import keras
import numpy as np
from har.nn import layers
from har.training import fit
from har.params import TrainParams

recipe = TrainParams(frames=3, draw="middle", epochs=3, steps=0, batch=8, patience=9,
    schedule="constant",
    weight_decay=0.0, average=0.9, label_smoothing=0.0, balance=True, centre=False, augment=None,
    precision="float32")
rng = np.random.default_rng(0)
labels = (np.arange(22) % 3 == 0).astype(int)
frames = rng.integers(0, 120, (22, 3, 8, 8, 3), np.uint8) + (labels * 120).astype(np.uint8)[
    :, None, None, None, None
]

def build():
    clips = keras.Input((3, 8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(clips)
    x = layers.ConvLSTM2D(2, 3)(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(clips, keras.layers.Dense(2, "softmax")(x), name="small")

backup, *places = sys.argv[1:]
for place in places:
    os.environ["HAR_FEED"] = place
    result = fit.fit(build, (frames[:16], labels[:16]), (frames[16:], labels[16:]),
        n_classes=2, learning_rate=0.01, recipe=recipe, seed=5, backup=Path(f"{backup}{place}.npz"))
    print(json.dumps({"devices": distribution.devices(4), "history": result.history,
        "weights": [w.ravel().tolist() for w in result.model.get_weights()]}))
"""


def environment(**changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KERAS_DIST", "XLA_FLAGS"))}
    return (
        kept
        | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(PROJECT)}
        | changes
    )


def begin(folder: Path, places=("memory",), **changes: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, folder / "backup-", *places],
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(process: subprocess.Popen) -> list[dict]:
    try:
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    [found] = results(begin(tmp_path_factory.mktemp("alone")))
    assert found["devices"] == 1
    losses = [row["loss"] for row in found["history"]]
    assert len(set(losses)) == len(losses)  # the weights change
    assert max(losses) < 1
    return found


def assert_close(found: dict, expected: dict) -> None:
    for row, wanted in zip(found["history"], expected["history"], strict=True):
        assert row == pytest.approx(wanted, abs=1e-4)
    for a, b in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_two_devices_train_as_one_does_wherever_the_frames_are(alone, tmp_path):
    flags = "--xla_force_host_platform_device_count=2"
    found = results(begin(tmp_path, ("memory", "device"), XLA_FLAGS=flags))
    assert len(found) == 2
    for one in found:
        assert one["devices"] == 2
        assert_close(one, alone)


def test_a_batch_that_cannot_be_shared_out_is_refused(monkeypatch):
    assert distribution.devices(10) == 1
    monkeypatch.setattr(
        distribution.keras.distribution,
        "distribution",
        lambda: SimpleNamespace(num_model_replicas=4),
    )
    assert distribution.devices(8) == 4
    with pytest.raises(UserError, match=r"multiple of the 4 devices. Received: 10. Try 12"):
        distribution.devices(10)

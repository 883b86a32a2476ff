import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from har.errors import UserError
from har.training import distribution
from har.training.distribution import Share

PROJECT = Path(__file__).resolve().parents[2]
pytest.importorskip("jax", reason="several devices need the extra jax")

# Trains once for each place of the frames that is named after the backup, and tells each result.
TRAIN = """
import json
import os
import sys
from pathlib import Path

from har.training import distribution

share = distribution.start()
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
    print(json.dumps({"share": share, "history": result.history,
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
    assert found["share"] == [1, 1, 0]
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
        assert one["share"] == [2, 1, 0]
        assert_close(one, alone)


def test_two_processes_train_as_one_does_and_the_first_keeps_the_state(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folders = [tmp_path / "0", tmp_path / "1"]
    for folder in folders:
        folder.mkdir()
    processes = [
        begin(
            folder,
            KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(i),
        )
        for i, folder in enumerate(folders)
    ]
    try:
        found = [one for process in processes for one in results(process)]
    finally:
        for process in processes:
            process.kill()
    assert [one["share"] for one in found] == [[2, 2, 0], [2, 2, 1]]
    for one in found:
        assert_close(one, alone)
    assert [len(list(folder.iterdir())) for folder in folders] == [1, 0]


def test_parts_of_a_batch_are_its_rows_in_order():
    rows = np.arange(12)
    parts = [Share(6, 3, i).part(rows) for i in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    np.testing.assert_array_equal(np.concatenate(parts), rows)
    np.testing.assert_array_equal(Share().part(rows), rows)


def test_a_batch_that_cannot_be_shared_out_is_refused():
    Share(4).check(8)
    with pytest.raises(UserError, match=r"multiple of the 4 devices. Received: 10. Try 12"):
        Share(4).check(10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"NUM_PROCESSES": "2"}, "no KERAS_DISTRIBUTION_JOB_ADDRESSES and no .*PROCESS_ID"),
        ({"JOB_ADDRESSES": "a:1", "NUM_PROCESSES": "2", "PROCESS_ID": "2"}, "PROCESS_ID=2"),
        ({"JOB_ADDRESSES": "a:1", "NUM_PROCESSES": "two", "PROCESS_ID": "0"}, "PROCESSES=two"),
    ],
)
def test_what_the_environment_gets_wrong_is_told(monkeypatch, given, message):
    monkeypatch.setattr(distribution.keras.backend, "backend", lambda: "jax")
    for name in distribution.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    with pytest.raises(UserError, match=message):
        distribution.start()


def test_several_processes_need_jax(monkeypatch):
    monkeypatch.setattr(distribution.keras.backend, "backend", lambda: "tensorflow")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match=r"KERAS_BACKEND=jax.*Received: tensorflow"):
        distribution.start()
    monkeypatch.delenv("KERAS_DISTRIBUTION_NUM_PROCESSES")
    assert distribution.start() == Share()

"""Curves of a training that runs, from the state that training itself keeps."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from har.training import watch
from har.training.watch import Training

ROWS = [
    {"epoch": i, "loss": 1 / i, "accuracy": 0.5, "val_loss": 2 / i, "val_accuracy": i / 10}
    for i in range(1, 5)
]


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0.0], 8, "▁"),
        ([1.0, 1.0, 1.0], 8, "▁▁▁"),
        ([0, 7], 8, "▁█"),
        (range(8), 8, "▁▂▃▄▅▆▇█"),
        ([0, 0, 1, 1], 2, "▁█"),
    ],
)
def test_sparkline(values, width, drawn):
    assert watch.sparkline(values, width) == drawn


def test_a_drawing_fits_the_terminal():
    many = [ROWS[0] | {"epoch": i, "val_loss": abs(i - 70)} for i in range(1, 301)]
    drawn = watch.draw(Training("lrcn", many, running=True), width=60)
    assert drawn.splitlines()[0] == "lrcn: training, epoch 300, best 70"
    assert max(map(len, drawn.splitlines())) == 60


def test_a_state_that_is_being_replaced_is_no_error(in_tmp_path):
    folder = in_tmp_path / ".work/train/lrcn"
    folder.mkdir(parents=True)
    (folder / "a.npz").write_bytes(b"PK half")
    (folder / "b.part.npz").write_bytes(b"")
    assert watch.trainings() == []


def test_a_real_training_is_seen_while_it_runs(in_tmp_path):
    """The state as training writes it; a change of its format is noticed here."""
    from har.nn.backend import keras
    from har.training.fit import TrainingState

    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs), name="lrcn")
    model.compile("adam", "mse")
    state = TrainingState(in_tmp_path / ".work/train/lrcn/key.npz", 5, 5)
    state.set_model(model)
    for epoch in (0, 1):
        logs = {"loss": 1.0 - epoch / 4, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.25}
        state.on_epoch_end(epoch, logs)
    (training,) = watch.trainings()
    assert training.running
    assert [row["loss"] for row in training.history] == [1.0, 0.75]
    assert "epoch 2, best 1" in watch.draw(training)


def test_event_files_hold_each_epoch_once(in_tmp_path):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for updates in ((2, 2, 4), (4,)):  # the second time as after a restart
        events = watch.EventFiles()
        for n in updates:
            events.update([Training("lrcn", ROWS[:n], running=True)])
        found = {"training": [], "validation": []}
        for file in sorted((in_tmp_path / ".work/tensorboard").rglob("events*")):
            for event in EventFileLoader(str(file)).Load():
                for value in event.summary.value:
                    if value.tag == "loss":
                        found[file.parent.name].append((event.step, value.tensor.float_val[0]))
        for side, scale in (("training", 1), ("validation", 2)):
            steps, losses = zip(*sorted(found[side]), strict=True)
            assert steps == (1, 2, 3, 4)
            assert np.allclose(losses, [scale / i for i in steps])


def test_the_command_ends_quietly_with_ctrl_c(in_tmp_path):
    code = "import sys; sys.argv[0] = 'har'; from har.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, "watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert "No training yet" in process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors == ""
    assert process.returncode in (0, 130)

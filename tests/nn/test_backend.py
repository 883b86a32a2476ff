"""What loading Keras through `har.nn.backend` does to the process."""

import sys

import pytest

FAULTS = """
import resource, sys
if sys.argv[1] == "har":
    import har.nn.backend
import numpy as np

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

np.ones(16 << 20, np.float32)  # 64 MB, freed at once
start = faults()
for _ in range(20):
    np.ones(16 << 20, np.float32)
print(faults() - start)
"""


@pytest.fixture(scope="module")
def loaded(run_python):
    """A process that loads `har.nn.backend`, and counts; its start takes seconds."""
    return run_python(FAULTS, "har")


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt(3) is glibc's")
def test_freed_memory_is_there_for_the_next_tensor(run_python, loaded):
    plain, tuned = int(run_python(FAULTS, "nobody").stdout), int(loaded.stdout)
    assert plain >= 20 * 32  # as many pages as the array has, 32 even where they are of 2 MB
    assert tuned < plain / 10


UNUSED = """
import sys
if sys.argv[1] == "first":
    import sklearn
import har.nn.backend
print(*sorted({"matplotlib", "sklearn"} & set(sys.modules)))
import matplotlib.pyplot, sklearn.metrics
print(sklearn.metrics.__name__)
"""


@pytest.mark.parametrize(("order", "loaded"), [("last", ""), ("first", "sklearn")])
def test_keras_loads_without_what_nobody_uses_and_leaves_it_to_others(run_python, order, loaded):
    assert run_python(UNUSED, order).stdout.splitlines() == [loaded, "sklearn.metrics"]


MANY = """
from har.nn.backend import keras
import numpy as np

for width in range(1, 9):
    inputs = keras.Input((width,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).predict(np.ones((3, width)), verbose=0)
"""


def test_predicting_with_many_networks_says_nothing(run_python):
    done = run_python(MANY)
    assert (done.returncode, done.stderr) == (0, "")


def test_loading_says_nothing(loaded):
    assert (loaded.returncode, loaded.stderr) == (0, "")
    assert loaded.stdout.strip().isdigit()  # the count alone


COMPILE = """
import os, sys
import har.nn.backend
import jax

jax.jit(lambda x: x * 2 + 1)(jax.numpy.arange(3.0)).block_until_ready()
print(os.environ["JAX_COMPILATION_CACHE_DIR"])
"""


@pytest.mark.parametrize("chosen", [None, "elsewhere"])
def test_what_jax_compiled_is_kept(run_python, tmp_path, monkeypatch, chosen):
    pytest.importorskip("jax", reason="needs the extra jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("HAR_CACHE", str(tmp_path / "har"))
    folder = tmp_path / (chosen or "har/jax")
    if chosen:
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
    else:
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    process = run_python(COMPILE)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == str(folder)
    kept = {path.name for path in folder.glob("jit_*-cache")}
    assert kept
    run_python(COMPILE)
    assert {path.name for path in folder.glob("jit_*-cache")} == kept  # found again, not made anew

"""What `har.nn.process.prepare` does to a process."""

import pytest

QUIET = """
import os, sys
from har.nn import process
before = set(os.listdir("/dev/fd"))
process.prepare()
process.prepare()
assert "keras" in sys.modules
assert set(os.listdir("/dev/fd")) == before, "a descriptor stays open"
print("still heard", file=sys.stderr)
"""


def test_keras_loads_without_a_word_and_standard_error_is_there_again(run_python):
    done = run_python(QUIET)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "still heard\n")


ENVIRONMENT = """
import os
from har.nn import process
os.environ.pop("TF_DETERMINISTIC_OPS", None)
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
process.prepare()
print(os.environ["TF_DETERMINISTIC_OPS"], os.environ["TF_ENABLE_ONEDNN_OPTS"])
"""


def test_the_environment_is_set_where_the_user_has_not_set_it(run_python):
    assert run_python(ENVIRONMENT).stdout.split() == ["1", "0"]


UNUSED = """
import sys
if sys.argv[1] == "first":
    import sklearn
from har.nn import process
process.prepare()
print(*sorted({"matplotlib", "sklearn"} & set(sys.modules)))
import matplotlib.pyplot, sklearn.metrics
print(sklearn.metrics.__name__)
"""


@pytest.mark.parametrize(("order", "loaded"), [("last", ""), ("first", "sklearn")])
def test_keras_loads_without_modules_that_can_be_imported_afterwards(run_python, order, loaded):
    assert run_python(UNUSED, order).stdout.splitlines() == [loaded, "sklearn.metrics"]


MANY = """
from har.nn import process
process.prepare()
import keras
import numpy as np

for width in range(1, 9):
    inputs = keras.Input((width,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).predict(np.ones((3, width)), verbose=0)
"""


def test_predicting_with_many_networks_says_nothing(run_python):
    done = run_python(MANY)
    assert (done.returncode, done.stderr) == (0, "")


COMPILE = """
import os
from har.nn import process
process.prepare()
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
    assert {path.name for path in folder.glob("jit_*-cache")} == kept  # found, not compiled again

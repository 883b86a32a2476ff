"""`import har` and its library modules change nothing in the process that imports them."""

import sys

import pytest

# What a process is: its environment, descriptors, garbage collector, import hooks, and how malloc
# treats a large block (settings that keep freed memory save most page faults of the second loop).
STATE = """
import gc, importlib, os, resource, sys
import numpy as np

def faults():
    np.ones(16 << 20, np.float32)  # 64 MB, which glibc returns to the system when it is freed
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(16 << 20, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start

def state():
    descriptors = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)}
    collector = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    return dict(os.environ), descriptors, collector, list(sys.meta_path), list(sys.path)

if "keras" in sys.argv[2:]:
    import keras  # changes the environment itself, and whatever it likes
before, modules = state(), set(sys.modules)
importlib.import_module(sys.argv[1])
after = state()
assert before[0] == after[0], set(before[0].items()) ^ set(after[0].items())
assert before[1:] == after[1:], (before[1:], after[1:])
assert not [name for name, module in sys.modules.items() if module is None]
assert faults() > 5 * 16, "malloc keeps freed memory"
print(*sorted(name for name in set(sys.modules) - modules if "." not in name))
"""
MODULES = (
    *("har.nn", "har.nn.layers", "har.nn.model_files", "har.nn.preprocessing", "har.nn.backend"),
    *("har.models", "har.models.lrcn", "har.models.convlstm", "har.backbones.i3d"),
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("module", ["har", "har.nn.process"])
def test_importing_changes_nothing(run_python, module):
    done = run_python(STATE, module)
    assert (done.returncode, done.stderr) == (0, "")
    assert not {"keras", "tensorflow", "jax", "sklearn", "cv2"} & set(done.stdout.split())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("module", MODULES)
def test_importing_what_needs_keras_changes_nothing_but_what_keras_changes(run_python, module):
    done = run_python(STATE, module, "keras")
    assert done.returncode == 0, done.stderr
    assert "har" in done.stdout.split()
    assert not {"sklearn", "matplotlib", "pandas"} & set(done.stdout.split())


PUBLIC = """
import sys
import har
assert not {name for name in sys.modules if name.startswith("har.")}
assert {"load_model", "Recogniser", "__version__"} <= set(dir(har))
assert har.__version__[0].isdigit()
try:
    har.nothing
except AttributeError as error:
    assert "'har' has no attribute 'nothing'" in str(error)
else:
    raise AssertionError
from har import Recogniser, load_model
import har.nn.model_files, har.predictor.recogniser
assert load_model is har.nn.model_files.load_model is har.load_model
assert Recogniser is har.predictor.recogniser.Recogniser
"""


def test_public_names_load_when_they_are_used(run_python):
    done = run_python(PUBLIC)
    assert done.returncode == 0, done.stderr


NO_HOME = """
import os, pwd
os.environ.pop("HOME", None)
def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
import har
import har.nn
from har.nn import process
"""


def test_neither_a_home_nor_a_user_is_needed(run_python):
    done = run_python(NO_HOME)
    assert done.returncode == 0, done.stderr


def test_lrcn_needs_no_convlstm(run_python):
    done = run_python(
        "import sys, har.models.lrcn, har.nn.model_files\n"
        "assert not {'har.nn.conv_lstm2d', 'har.nn.layers'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr

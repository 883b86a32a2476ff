"""What loading Keras through `har.backend` does to the process."""

import sys

import pytest

FAULTS = """
import resource, sys
if sys.argv[1] == "har":
    import har.backend
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
    """A process that loads `har.backend`, and counts; its start takes seconds."""
    return run_python(FAULTS, "har")


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt(3) is glibc's")
def test_freed_memory_is_there_for_the_next_tensor(run_python, loaded):
    plain, tuned = int(run_python(FAULTS, "nobody").stdout), int(loaded.stdout)
    assert plain >= 20 * 32  # as many pages as the array has, 32 even where they are of 2 MB
    assert tuned < plain / 10


def test_loading_says_nothing(loaded):
    assert (loaded.returncode, loaded.stderr) == (0, "")
    assert loaded.stdout.strip().isdigit()  # the count alone

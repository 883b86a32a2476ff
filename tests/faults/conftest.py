"""A campaign of faults: `HAR_FAULTS=1 pytest -m slow tests/faults` runs all of it, in hours.

By default it runs a twentieth. Everything is drawn from a seed, `HAR_FAULTS_SEED`.
"""

import os
import random

import pytest
from pipeline.conftest import finished  # noqa: F401 (a fixture)

SHARE = float(os.environ.get("HAR_FAULTS", "0.05"))
SEED = int(os.environ.get("HAR_FAULTS_SEED", "21"))


@pytest.fixture
def rng(request) -> random.Random:
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def times():
    """Return how many of a full campaign's cases to run, one at least."""
    return lambda full: max(1, round(full * SHARE))


def assert_one_line(code: int, stderr: str) -> None:
    """Assert that a command worked, or ended with one line that says why."""
    assert "Traceback" not in stderr, stderr
    assert code in (0, 2), f"{code}: {stderr}"
    if code == 2:
        assert len([line for line in stderr.splitlines() if line.startswith("Error: ")]) == 1, (
            stderr
        )

"""Features of I3D in float32, in bfloat16, and at the limit of the machine.

Command: python benchmarks/features.py [--repeats 8]
Inputs: random clips and weights, which take as long as real ones. KERAS_BACKEND: the backend.
Cost: a minute.

A window is 64 frames of 224 × 224; both precisions take turns. `limit` is its multiply-adds at the
rate of a large matrix product.
"""

import functools
import time

import harness
import numpy as np

from har.errors import run
from har.nn import process

COLUMNS = {"windows/s": ",.2f", "fastest": ",.2f", "limit": ",.2f", "of the limit": ".2f"}


def main() -> None:
    """Measure and print a table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=8, help="windows in each precision")
    options = parser.parse_args()
    process.prepare()
    from har.backbones import i3d
    from har.comparison import cost

    clip = np.random.default_rng(0).integers(0, 256, (1, 64, 224, 224, 3), np.uint8)
    networks = {dtype: i3d.build(clip.shape[1:4], "random") for dtype in ("float32", "bfloat16")}
    i3d.quicken(networks["bfloat16"])

    def seconds(network) -> float:
        start = time.perf_counter()
        np.asarray(network.predict_on_batch(clip))
        return time.perf_counter() - start

    ways = {dtype: functools.partial(seconds, network) for dtype, network in networks.items()}
    harness.turns(ways, 1)  # compiles
    found = harness.turns(ways, options.repeats)
    report = harness.Report(harness.machine("keras"), COLUMNS)
    for dtype, times in found.items():
        limit = harness.multiply_adds_per_s(dtype) / cost.multiply_adds(networks["float32"])
        report.row(dtype, 1 / np.median(times), 1 / min(times), limit, 1 / np.median(times) / limit)


if __name__ == "__main__":
    run(main)

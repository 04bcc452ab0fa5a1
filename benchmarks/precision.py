"""Seconds of training in float32 over seconds in bfloat16, by size of the network.

python benchmarks/precision.py
"""

import time

import numpy as np
from common import described, parser, setting
from networks import PLAIN

from sklearn_cnn import CNNClassifier

CASES = [
    (8, (32, 64)),
    (28, (8, 16)),
    (12, (32, 64)),
    (8, (64, 128)),
    (16, (32, 64)),
    (14, (64, 128)),
    (28, (32, 64)),
    (28, (64, 128)),
]


def main(n=4000):
    arguments = parser(__doc__)
    arguments.set_defaults(threads=1, repeats=3)
    arguments = arguments.parse_args()
    print(described(setting(arguments.threads)))
    rng = np.random.default_rng(0)
    y = np.arange(n) % 10
    for side, filters in CASES:
        X = rng.integers(0, 256, (n, side, side), dtype=np.uint8)
        seconds = {"float32": [], "bfloat16": []}
        for _ in range(arguments.repeats):
            for precision, measured in seconds.items():  # in turn: the machine may be noisy
                clf = CNNClassifier(filters, max_epochs=1, precision=precision, random_state=0, **PLAIN)
                start = time.perf_counter()
                clf.fit(X, y)
                measured.append(time.perf_counter() - start)
        ratio = np.median(seconds["float32"]) / np.median(seconds["bfloat16"])
        print(f"{side}×{side}, filters={filters}: {clf.plan_.n_macs:,} multiply-adds, ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()

"""Seconds of `fit` against the number of images, their side, the width and the depth of the network.

    python benchmarks/scaling.py

Exponents are those of a power of the quantity, fitted to the medians; 1 is proportional.
"""

import time

import numpy as np
from common import parser, report, setting
from networks import PLAIN

from sklearn_cnn import CNNClassifier

BASE = {"n": 4000, "side": 28, "width": 32, "depth": 2}
VALUES = {"n": [4000, 8000, 16000, 32000], "side": [16, 32, 64], "width": [16, 32, 64, 128], "depth": [2, 4, 8]}


def seconds_of(n, side, width, depth):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (n, side, side), dtype=np.uint8), np.arange(n) % 10
    # Only the first two blocks have a pool: the depth does not change the size of the last map.
    pooling = ["max", "max", *[None] * (depth - 2)]
    clf = CNNClassifier((width,) * depth, pooling=pooling, max_epochs=1, batch_size=128, random_state=0, **PLAIN)
    start = time.perf_counter()
    clf.fit(X, y)
    return time.perf_counter() - start


def main():
    arguments = parser(__doc__)
    arguments.set_defaults(repeats=3)
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    seconds_of(**BASE)
    rows = []
    for quantity, values in VALUES.items():
        found = {value: [] for value in values}
        for _ in range(arguments.repeats):
            for value, measured in found.items():
                measured.append(seconds_of(**{**BASE, quantity: value}))
        medians = [float(np.median(measured)) for measured in found.values()]
        exponent = float(np.polyfit(np.log(values), np.log(medians), 1)[0])
        rows.append(
            {
                "quantity": quantity,
                "values": ", ".join(map(str, values)),
                "seconds": ", ".join(f"{median:.2f}" for median in medians),
                "exponent": exponent,
            }
        )
    report(f"Scaling of fit, medians of {arguments.repeats}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()

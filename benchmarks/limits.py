"""What the time of a training step goes to, and how far it is from the fastest this machine multiplies matrices.

    python benchmarks/limits.py

A fit of random images of 28×28 is profiled, and the time of each kind of operation compared with the whole. The rate
of the convolutions, forward and backward, stands beside that of a product of two square matrices of the same dtype.
"""

import time

import numpy as np
import torch
from common import parser, report, setting
from torch.profiler import ProfilerActivity, profile

from sklearn_cnn import CNNClassifier

# In the order in which they are looked for in the name of an operation.
KINDS = {
    "convolution": ("convolution", "conv2d", "mkldnn", "thnn_conv"),
    "pool": ("pool",),
    "batch normalisation": ("batch_norm",),
    "dense": ("mm", "linear", "addmm"),
    "activation": ("threshold", "relu"),
    "dropout": ("bernoulli",),
    "optimiser": ("adam", "sgd"),
    "casts and copies": ("copy", "_to_copy", "index", "cat"),
}


def matrix_product_rate(dtype, side=2048, repeats=7):
    """Multiply-adds a second, the fastest of several."""
    a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return side**3 / min(seconds)


def kind_of(name):
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "everything else")


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--filters", type=int, nargs="+", default=[32, 64, 128])
    arguments.add_argument("--images", type=int, default=8192)
    arguments.add_argument("--batch-size", type=int, default=128)
    arguments.add_argument("--precision", default="auto")
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (arguments.images, 28, 28), dtype=np.uint8), np.arange(arguments.images) % 10
    clf = CNNClassifier(
        arguments.filters,
        max_epochs=1,
        batch_size=arguments.batch_size,
        precision=arguments.precision,
        random_state=0,
    )
    clf.fit(X[:1024], y[:1024])
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        start = time.perf_counter()
        clf.fit(X, y)
        whole = time.perf_counter() - start
    seconds = dict.fromkeys([*KINDS, "everything else"], 0.0)
    for event in profiled.key_averages():
        if event.key.startswith("aten::"):
            seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    seconds["Python between them"] = whole - sum(seconds.values())

    # A backward pass is two products of the size of the forward one, but that the first layer needs no gradient
    # with respect to the images.
    convs = [layer.n_macs for layer in clf.plan_.layers if layer.kind == "conv"]
    rate = (3 * sum(convs) - convs[0]) * arguments.images / seconds["convolution"]
    dtype = torch.bfloat16 if clf.precision_ == "bfloat16" else torch.float32
    peak = matrix_product_rate(dtype)
    machine.update({"precision": clf.precision_, "images a second": f"{arguments.images / whole:.0f}"})
    rows = [
        {"operation": kind, "share of the time, %": 100 * value / whole, "seconds": value}
        for kind, value in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    machine["billion multiply-adds a second"] = f"{rate / 1e9:.0f} of convolutions, {peak / 1e9:.0f} of matrix products"
    machine["convolutions over matrix products, %"] = f"{100 * rate / peak:.0f}"
    report(f"A fit with filters {tuple(arguments.filters)}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()

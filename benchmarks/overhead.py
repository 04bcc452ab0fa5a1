"""Time of `fit` over that of a bare torch loop that trains the same layers in the same order, layout and
precision.

    python benchmarks/overhead.py FOLDER
    python benchmarks/overhead.py FOLDER --colour 32 64 --threads 1

On the digits that come with scikit-learn (1,797 images of 8×8) and on the images of an idx folder, with one thread and
with `--threads`; with `--colour` on random colour images of these sides instead, with one convolution a block and two.
The whole call of `fit` is compared with a loop that knows shapes, classes and learning rate beforehand and checks
nothing. A fit of a small network takes one thread, however many there are.
"""

from functools import partial

import numpy as np
import torch
from common import in_turn, parser, report, setting
from data import read_idx_folder
from networks import PLAIN, conv_blocks, plain_loop
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier


def compare(name, X, y, epochs, convs, threads, repeats):
    torch.set_num_threads(threads)
    settings = {**PLAIN, "convs_per_block": convs, "random_state": 0}
    clf = CNNClassifier(**settings, max_epochs=epochs)
    fitted = CNNClassifier(**settings, max_epochs=1).fit(X, y)
    filters = [layer.output_shape[0] for layer in fitted.plan_.layers if layer.kind == "conv"][::convs]

    def bare():
        plain_loop(
            conv_blocks(filters, X.shape[1], channels=fitted.image_shape_.channels, convs=convs),
            X,
            y,
            epochs=epochs,
            batch_size=fitted.batch_size_,
            lr=0.01,
            bfloat16=fitted.precision_ == "bfloat16",
            channels_last=True,  # as `fit` has them
            label_smoothing=clf.label_smoothing,
        )

    seconds = in_turn({"fit": partial(clf.fit, X, y), "bare loop": bare}, repeats)
    # Ratios of neighbours in time: the machine's speed changes from one minute to the next.
    low, ratio, high = np.quantile(np.divide(seconds["fit"], seconds["bare loop"]), [0.25, 0.5, 0.75])
    return {
        "data": name,
        "images": len(X),
        "convs a block": convs,
        "threads": threads,
        "precision": fitted.precision_,
        "fit, s": float(np.median(seconds["fit"])),
        "bare loop, s": float(np.median(seconds["bare loop"])),
        "ratio": float(ratio),
        "its quartiles": f"{low:.3f} to {high:.3f}",
    }


def main():
    arguments = parser(__doc__, data=True)
    arguments.add_argument("--images", type=int, default=12_800, help="of the idx folder, so that it takes seconds")
    arguments.add_argument("--colour", type=int, nargs="+", default=[], help="sides of random colour images")
    arguments.add_argument("--colour-images", type=int, default=1280, help="number of these")
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    if arguments.colour:
        n, rng = arguments.colour_images, np.random.default_rng(0)
        sets = {
            f"colour {side}×{side}, {convs} a block": (
                rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8),
                np.arange(n) % 10,
                1,
                convs,
            )
            for side in arguments.colour
            for convs in (1, 2)
        }
    else:
        digits = load_digits()
        X, y, _, _ = read_idx_folder(arguments.data)
        sets = {
            "digits": (digits.images.astype(np.float32), digits.target, 10, 1),
            "idx folder": (X[: arguments.images], y[: arguments.images], 1, 1),
        }
    rows = [
        compare(name, *data, threads, arguments.repeats)
        for name, data in sets.items()
        for threads in sorted({1, arguments.threads})
    ]
    report(f"Overhead of fit, medians of {arguments.repeats}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()

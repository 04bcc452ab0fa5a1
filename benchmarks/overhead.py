"""Time of `fit` over that of a bare torch loop which trains the same network in the same precision.

    python benchmarks/overhead.py FOLDER

On the digits that come with scikit-learn (1,797 images of 8×8) and on an idx folder, the whole call of `fit` against a
loop that knows shapes, classes and learning rate beforehand, and checks nothing.
"""

from functools import partial

import numpy as np
from common import in_turn, parser, report, setting
from data import read_idx_folder
from networks import conv_blocks, plain_loop
from sklearn.datasets import load_digits

from sklearn_cnn import CNNClassifier


def compare(name, X, y, epochs, arguments):
    clf = CNNClassifier(max_epochs=epochs, random_state=0)
    fitted = CNNClassifier(max_epochs=1, random_state=0).fit(X, y)
    filters = [layer.output_shape[0] for layer in fitted.plan_.layers if layer.kind == "conv"]

    def bare():
        plain_loop(
            conv_blocks(filters, X.shape[1]),
            X,
            y,
            epochs=epochs,
            batch_size=fitted.batch_size_,
            lr=0.01,
            bfloat16=fitted.precision_ == "bfloat16",
            label_smoothing=clf.label_smoothing,
        )

    seconds = in_turn({"fit": partial(clf.fit, X, y), "bare loop": bare}, arguments.repeats)
    # The ratio of neighbours in time: the machine's speed changes from one minute to the next.
    ratio = float(np.median(np.divide(seconds["fit"], seconds["bare loop"])))
    return {
        "data": name,
        "images": len(X),
        "precision": fitted.precision_,
        "fit, s": float(np.median(seconds["fit"])),
        "bare loop, s": float(np.median(seconds["bare loop"])),
        "overhead, %": 100 * (ratio - 1),
    }


def main():
    arguments = parser(__doc__, data=True)
    arguments.add_argument("--images", type=int, default=12_000, help="of the idx folder, so that it takes seconds")
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    digits = load_digits()
    X, y, _, _ = read_idx_folder(arguments.data)
    rows = [
        compare("digits", digits.images.astype(np.float32), digits.target, 10, arguments),
        compare("idx folder", X[: arguments.images], y[: arguments.images], 1, arguments),
    ]
    report(f"Overhead of fit, medians of {arguments.repeats}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()

"""Seconds of `fit` to a test accuracy, against the example of Keras.

    python benchmarks/time_to_accuracy.py FOLDER "filters=(16, 32, 32, 64), max_epochs=1, batch_size=64, lr=0.005"

The whole call of `fit` is measured, on uint8 images as they are. Keras trains the network of its MNIST example (12
epochs, Adadelta, batches of 128) in a Python of its own; its epochs alternate with our fits, and 12 of the median
epoch are its time. `--keras-epochs 12` trains it to the end, for its accuracy too; 0 leaves it out.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from common import Peer, parser, report, setting
from data import read_idx_folder

from sklearn_cnn import CNNClassifier, ImageAugmenter  # noqa: F401 - settings may name the augmenter


def main():
    arguments = parser(__doc__, data=True, peers=True)
    arguments.add_argument("settings", nargs="*", default=[""], help="keyword arguments of CNNClassifier")
    arguments.add_argument("--keras-epochs", type=int, default=3)
    arguments.add_argument("--plot", type=Path, default=None, help="picture of accuracy against seconds to draw")
    arguments = arguments.parse_intermixed_args()  # settings may stand behind options
    machine = setting(arguments.threads)
    X, y, X_test, y_test = read_idx_folder(arguments.data)
    found = {text: {"seconds": [], "accuracy": []} for text in arguments.settings}
    epochs, curve, keras_accuracy = [], [], float("nan")
    CNNClassifier((2,), max_epochs=1).fit(X[:200], y[:200])  # what torch loads at its first use
    with tempfile.TemporaryDirectory() as folder:
        keras = None
        if arguments.keras_epochs:
            np.savez(Path(folder) / "data.npz", X=X, y=y, X_test=X_test, y_test=y_test)
            keras = Peer(arguments.peers, "keras_mnist.py", Path(folder) / "data.npz", arguments.threads)
            machine.update({name: value for name, value in keras.ask("new").items() if name != "seconds"})
        for turn in range(max(arguments.repeats, arguments.keras_epochs)):
            if turn < arguments.repeats:
                for text, row in found.items():
                    clf = CNNClassifier(**{"random_state": turn, **eval(f"dict({text})")})
                    start = time.perf_counter()
                    clf.fit(X, y)
                    row["seconds"].append(time.perf_counter() - start)
                    row["accuracy"].append(float(clf.score(X_test, y_test)))
                    print(f"{row['seconds'][-1]:.1f} s, {row['accuracy'][-1]:.4f}; {text or 'defaults'}", flush=True)
            if keras is not None and turn < arguments.keras_epochs:
                epochs.append(keras.ask("epoch")["seconds"])
                keras_accuracy = keras.ask("evaluate")["accuracy"]
                curve.append(keras_accuracy)
                print(f"{epochs[-1]:.1f} s, {keras_accuracy:.4f}; epoch {turn + 1} of Keras", flush=True)
        if keras is not None:
            keras.end()
    keras_seconds = 12 * float(np.median(epochs)) if epochs else float("nan")
    rows = [
        {
            "contestant": text or "defaults",
            "test accuracy": float(np.median(row["accuracy"])),
            "least": min(row["accuracy"]),
            "seconds": float(np.median(row["seconds"])),
            **({"times as fast as Keras": keras_seconds / float(np.median(row["seconds"]))} if epochs else {}),
        }
        for text, row in found.items()
    ]
    if epochs:
        rows.append(
            {
                "contestant": f"Keras' example, 12 epochs (accuracy after {len(epochs)})",
                "test accuracy": keras_accuracy,
                "least": keras_accuracy,
                "seconds": keras_seconds,
                "times as fast as Keras": 1.0,
            }
        )
    what = f"Seconds of fit on {len(X):,} images, medians of {arguments.repeats}"
    report(what, machine, rows, arguments.json)
    if arguments.plot is not None:
        draw(found, epochs, curve, machine, arguments.plot)


def draw(found, epochs, curve, machine, file):
    """Accuracy against seconds: one dot a fit, and Keras epoch by epoch."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for (text, row), colour in zip(found.items(), ("#D55E00", "#009E73", "#CC79A7", "#E69F00") * 9, strict=False):
        ax.scatter(row["seconds"], row["accuracy"], color=colour, zorder=3, label=f"CNNClassifier({text})")
    if curve:
        ax.plot(np.cumsum(epochs), curve, color="#0072B2", marker="s", label="Keras' MNIST example, epoch by epoch")
    ax.set(xscale="log", xlabel=f"seconds of training, {machine['threads']} threads", ylabel="test accuracy")
    ax.xaxis.set_major_formatter("{x:g}")
    figure.legend(loc="outside upper center", fontsize=8)
    ax.grid(color="0.9")
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()

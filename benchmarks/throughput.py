"""Images a second for one network, in training and in prediction, for all contestants.

    python benchmarks/throughput.py FOLDER

The network is that of Keras' MNIST example, in batches of 128. Everybody trains one epoch of the given number of
images, and predicts the test images: this package in its own precision and in float32, a plain torch loop, skorch with
its defaults, and Keras in a Python of its own.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import Peer, parser, report, setting
from data import read_idx_folder
from networks import KERAS_EXAMPLE, keras_example, plain_loop, plain_prediction
from skorch import NeuralNetClassifier

from sklearn_cnn import CNNClassifier


def contestants(X, y, X_test):
    """Functions that train and that predict, by name."""
    made = {}
    for precision in ("auto", "float32"):
        clf = CNNClassifier(**KERAS_EXAMPLE, max_epochs=1, batch_size=128, precision=precision, random_state=0)
        clf.fit(X[:256], y[:256])
        made[f"sklearn_cnn, precision={precision!r}"] = (
            lambda clf=clf: clf.fit(X, y),
            lambda clf=clf: clf.predict(X_test),
        )
    network = keras_example()
    made["plain torch loop, float32"] = (
        lambda: plain_loop(network, X, y, epochs=1, batch_size=128, lr=0.001),
        lambda: plain_prediction(network, X_test),
    )
    pixels, labels = X[:, None].astype(np.float32) / 255, y.astype(np.int64)
    pixels_test = X_test[:, None].astype(np.float32) / 255
    net = NeuralNetClassifier(keras_example(), criterion=torch.nn.CrossEntropyLoss, train_split=None, verbose=0)
    net.set_params(max_epochs=1, batch_size=128, lr=0.01)
    net.initialize()
    made["skorch"] = (lambda: net.partial_fit(pixels, labels), lambda: net.predict(pixels_test))
    return made


def main():
    arguments = parser(__doc__, data=True, peers=True)
    arguments.add_argument("--images", type=int, default=12_800)
    arguments.add_argument("--no-keras", action="store_true", help="leave Keras out")
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    X, y, X_test, y_test = read_idx_folder(arguments.data)
    X, y = X[: arguments.images], y[: arguments.images]
    found = {name: ([], []) for name in contestants(X, y, X_test)}
    running = contestants(X, y, X_test)
    with tempfile.TemporaryDirectory() as folder:
        keras = None
        if not arguments.no_keras:
            np.savez(Path(folder) / "data.npz", X=X, y=y, X_test=X_test, y_test=y_test)
            keras = Peer(arguments.peers, "keras_mnist.py", Path(folder) / "data.npz", arguments.threads)
            machine.update({name: value for name, value in keras.ask("new").items() if name != "seconds"})
            found["Keras"] = ([], [])
            keras.ask("epoch"), keras.ask("predict")
        for _ in range(arguments.repeats):
            for name, functions in running.items():
                for seconds, function in zip(found[name], functions, strict=True):
                    start = time.perf_counter()
                    function()
                    seconds.append(time.perf_counter() - start)
            if keras is not None:
                for seconds, command in zip(found["Keras"], ("epoch", "predict"), strict=True):
                    seconds.append(keras.ask(command)["seconds"])
        if keras is not None:
            keras.end()
    first = next(iter(found))
    rows = []
    for name, (training, prediction) in found.items():
        rows.append(
            {
                "contestant": name,
                "training, images/s": len(X) / float(np.median(training)),
                "ours is faster by": float(np.median(np.divide(training, found[first][0]))),
                "prediction, images/s": len(X_test) / float(np.median(prediction)),
                "ours is faster by ": float(np.median(np.divide(prediction, found[first][1]))),
            }
        )
    report(f"Network of Keras' MNIST example, medians of {arguments.repeats}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()

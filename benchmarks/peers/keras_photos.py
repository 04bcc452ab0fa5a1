"""The network of Keras' example for CIFAR-10, for the benchmarks; run by them, in a Python that has Keras.

Arguments: the file with the images (an .npz of X, y, X_test, y_test) and the number of threads. Reads commands from
the standard input, a line each: `new SEED` makes the network, `epoch` trains it for one epoch, `evaluate` scores it on
the test images. Answers with a line of JSON.
"""

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def new(shape, n_classes):
    """examples/cifar10_cnn.py of Keras 2, without its augmentation: 75% after 25 epochs, as it says itself.

    Its rate of 0.0001 falls by a millionth a step, 3% in 25 epochs; that is left out.
    """
    network = keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(n_classes, activation="softmax"),
        ]
    )
    network.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.RMSprop(1e-4))
    return network


def main(file, threads):
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    data = np.load(file)
    X, X_test = (data[name].astype("float32") / 255 for name in ("X", "X_test"))
    network = None
    for line in sys.stdin:
        command, *values = line.split()
        start = time.perf_counter()
        answer = {}
        if command == "new":
            keras.utils.set_random_seed(int(values[0]))
            network = new(X.shape[1:], int(data["y"].max()) + 1)
            answer = {"keras": keras.__version__, "tensorflow": tf.__version__}
        elif command == "epoch":
            network.fit(X, data["y"], batch_size=32, epochs=1, verbose=0)
        elif command == "evaluate":
            predicted = network.predict(X_test, batch_size=128, verbose=0).argmax(axis=1)
            answer = {"accuracy": float((predicted == data["y_test"]).mean())}
        print(json.dumps({**answer, "seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Time of `predict_proba` over that of onnxruntime on the file of `export_onnx`, and over that of the bare network.

    python benchmarks/prediction.py

The default network, fitted for one epoch on random images, predicts one image and larger batches. Everybody gets the
pixels as uint8 and gives probabilities; the bare network is `module_` called on all the images of a batch at once, with
a softmax. With one thread and with `--threads`.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from common import in_turn, parser, report, setting

from sklearn_cnn import CNNClassifier, export_onnx

SHAPES = {"28×28": (28, 28), "32×32×3": (32, 32, 3)}


def images(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def session(clf, threads):
    """onnxruntime's function for the probabilities of images, with so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # so that it takes no time from others
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        export_onnx(clf, file)
        run = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]).run
    return lambda X: run(["probabilities"], {"images": X.astype(np.float32)})[0]


def bare(clf):
    shape = clf.image_shape_

    @torch.inference_mode()
    def predict(X):
        return clf.module_(shape.to_channels_first(torch.from_numpy(X))).softmax(dim=1).numpy()

    return predict


def compare(name, shape, n_images, threads, repeats):
    torch.set_num_threads(threads)
    clf = CNNClassifier(max_epochs=1, random_state=0).fit(images(512, shape), np.arange(512) % 10)
    X = images(n_images, shape, seed=1)
    functions = {"predict_proba": clf.predict_proba, "bare network": bare(clf), "onnxruntime": session(clf, threads)}
    calls = max(1, 64 // n_images)  # of a function in a row, so that one measurement takes a millisecond at least

    def several(function):
        for _ in range(calls):
            function(X)

    seconds = in_turn({name: partial(several, function) for name, function in functions.items()}, repeats, warm_up=3)
    ours = seconds["predict_proba"]
    return {
        "images": name,
        "at once": n_images,
        "threads": threads,
        **{f"{name}, ms": 1000 * float(np.median(found)) / calls for name, found in seconds.items()},
        "ours / bare": float(np.median(np.divide(ours, seconds["bare network"]))),
        "ours / onnxruntime": float(np.median(np.divide(ours, seconds["onnxruntime"]))),
    }


def main():
    arguments = parser(__doc__)
    arguments.set_defaults(repeats=31)
    arguments.add_argument("--at-once", type=int, nargs="+", default=[1, 256, 4096], help="images of a call")
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    rows = [
        compare(name, shape, n_images, threads, arguments.repeats)
        for name, shape in SHAPES.items()
        for n_images in arguments.at_once
        for threads in sorted({1, arguments.threads})
    ]
    report(f"Prediction, medians of {arguments.repeats}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()

"""Accuracy against seconds of training on 50,000 colour photographs of 32×32 in ten classes.

    python benchmarks/photos.py FILE cnn "cnn: max_epochs=20" bare "bare: widths=(64, 256, 256), epochs=10"
    python benchmarks/photos.py FILE cnn resnet18 "keras: epochs=25" boosting "svc: train=10000" --seeds 3 --json J
    python benchmarks/photos.py J --plot PNG

FILE is an npz file with X (50000, 32, 32, 3), uint8, and y: the training photographs of CIFAR-10. Contestants train on
the first 45,000 and are scored on the last 5,000; the test photographs of that set are left for a last figure.
Contestants train in turn, and seeds one after the other. A contestant is a name, and keyword arguments after a colon:

    cnn        CNNClassifier, with its parameters
    bare       the bare loop of bare_photos.py, with the fields of its `Recipe`
    resnet18   torchvision's ResNet-18 in a bare loop: epochs, batch_size, lr, side (enlarges the photographs to so many
               pixels), weights (a file of torchvision's weights, or "imagenet", which torchvision downloads)
    keras      the network of Keras' CIFAR-10 example (in a Python of its own, see `make peers`): epochs
    boosting   HistGradientBoostingClassifier on histograms of oriented gradients: its parameters, and cell
    svc        SVC (RBF) on the same: its parameters, cell, and train, the number of photographs (0: all)

Each takes a label, too: "cnn: label='5 minutes', max_epochs=20". Seconds are those from uint8 images to a trained
classifier. Accuracy is given as it is, with predictions for an image and its mirror image added up, and with those of
shifted images, too. A JSON file of an earlier run in place of FILE draws that run again.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from bare_photos import Recipe, Trained, accuracies, drawn, fit, native_bfloat16, with_border
from common import Peer, report, setting
from data import read_photos
from hog import hog
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn import functional as F

from sklearn_cnn import CNNClassifier, ImageAugmenter  # noqa: F401 - settings may name the augmenter


def cnn(X, y, seed, **parameters):
    return CNNClassifier(**{"random_state": seed, **parameters}).fit(X, y).predict_proba


def bare(X, y, seed, **options):
    return fit(X, y, Recipe(**options), seed)


def resnet18(X, y, seed, epochs=15, batch_size=128, lr=0.1, side=None, weights=None, bfloat16=None):
    """SGD with Nesterov momentum 0.9, one cycle of the rate, weight decay 5e-4; flips, and crops from a border of 4."""
    from torchvision.models import ResNet18_Weights
    from torchvision.models import resnet18 as torchvision_resnet18

    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, targets = torch.from_numpy(X).permute(0, 3, 1, 2), torch.from_numpy(y.astype(np.int64))
    bfloat16 = native_bfloat16(bfloat16)
    pixels = images.float()
    mean, std = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)
    del pixels

    def prepared(batch):
        batch = ((batch.float() - mean) / std).contiguous(memory_format=torch.channels_last)
        return batch if side is None else F.interpolate(batch, size=(side, side), mode="bilinear")

    net = torchvision_resnet18(weights=ResNet18_Weights.DEFAULT if weights == "imagenet" else None)
    if weights not in (None, "imagenet"):
        net.load_state_dict(torch.load(weights, weights_only=True))
    net.fc = nn.Linear(net.fc.in_features, int(targets.max()) + 1)
    net = net.to(memory_format=torch.channels_last).train()
    batch_size = min(batch_size, len(X))
    n_batches = len(X) // batch_size
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * n_batches)
    padded = with_border(images, 4, "constant")
    for _ in range(epochs):
        shown = drawn(padded, 4, torch.rand(len(X), generator=generator) < 0.5, generator)
        for rows in torch.randperm(len(X), generator=generator).split(batch_size)[:n_batches]:
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = net(prepared(shown[rows])).float()
            loss = F.cross_entropy(logits, targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
    return Trained(net, prepared, bfloat16)


def boosting(X, y, seed, cell=8, **parameters):
    model = HistGradientBoostingClassifier(**{"random_state": seed, **parameters}).fit(hog(X, cell), y)
    return lambda images: model.predict_proba(hog(images, cell))


def svc(X, y, seed, cell=8, train=10_000, **parameters):
    """Its seconds grow with the square of the photographs; nothing in it is drawn, so that seeds give the same."""
    n_images = train or len(X)
    model = SVC(**{"C": 10.0, **parameters}).fit(hog(X[:n_images], cell), y[:n_images])
    return lambda images: model.decision_function(hog(images, cell))


LOOPS = {"cnn": cnn, "bare": bare, "resnet18": resnet18, "boosting": boosting, "svc": svc}
"""Train with (X, y, seed, **options), and return a function of images that gives scores (n, n_classes)."""

KINDS = [*LOOPS, "keras"]


def read_contestants(texts):
    """Texts -> dict from a label to kind and options."""
    contestants = {}
    for text in texts:
        kind, _, keywords = text.partition(":")
        if kind not in KINDS:
            raise SystemExit(f"{kind!r} is none of {', '.join(KINDS)}; keyword arguments follow after a colon.")
        options = eval(f"dict({keywords.strip()})")
        named = f"CNNClassifier({keywords.strip()})" if kind == "cnn" else text
        contestants[options.pop("label", named)] = kind, options
    return contestants


def with_keras(peer, seed, epochs=25):
    """One fit of Keras: what `measured` gives for the others, but for mirrored images."""
    peer.ask(f"new {seed}")
    seconds = sum(peer.ask("epoch")["seconds"] for _ in range(epochs))
    return {"seconds": seconds, "accuracy": peer.ask("evaluate")["accuracy"]}


def measured(loop, data, seed, options):
    """Seconds of training, and accuracies."""
    X, y, X_test, y_test = data
    start = time.perf_counter()
    scores = loop(X, y, seed, **options)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, **accuracies(scores, X_test, y_test)}


def run(contestants, data, arguments, machine):
    """Each contestant with each seed, in turn: a row each."""
    cnn(data[0][:200], data[1][:200], 0, filters=(2,), max_epochs=1)  # what torch loads at its first use
    runs = {label: [] for label in contestants}
    with tempfile.TemporaryDirectory() as folder:
        peer = None
        if any(kind == "keras" for kind, _ in contestants.values()):
            np.savez(Path(folder) / "data.npz", **dict(zip(("X", "y", "X_test", "y_test"), data, strict=True)))
            peer = Peer(arguments.peers, "keras_photos.py", Path(folder) / "data.npz", arguments.threads)
            versions = peer.ask("new 0")
            machine.update({name: versions[name] for name in ("keras", "tensorflow")})
            peer.ask("evaluate")  # what TensorFlow loads at its first use
        for seed in range(arguments.seeds):
            for label, (kind, options) in contestants.items():
                if kind == "keras":
                    found = with_keras(peer, seed, **options)
                else:
                    found = measured(LOOPS[kind], data, seed, options)
                runs[label].append(found)
                figures = ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name != "seconds")
                print(f"{found['seconds']:.1f} s, {figures}; {label}, seed {seed}", flush=True)
        if peer is not None:
            peer.end()
    return [row(label, contestants[label][0], found) for label, found in runs.items()]


def row(label, kind, runs):
    """Medians of the seeds, and the accuracy of each."""
    medians = {
        name: float(np.median([found[name] for found in runs])) if name in runs[0] else None
        for name in ("seconds", "accuracy", "mirrored", "and shifted")
    }
    return {"contestant": label, "kind": kind, **medians, "each seed": [found["accuracy"] for found in runs]}


OURS, OTHERS = "#D55E00", "0.45"


def draw(rows, machine, what, file):
    """A dot a contestant, with a ring above it for mirrored and shifted images where that gains."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    seconds = [row["seconds"] for row in rows]
    ax.set(xscale="log", xlim=(min(seconds) / 1.5, max(seconds) * 2.5))
    dots = []
    for row in rows:
        colour = OURS if row["kind"] == "cnn" else OTHERS
        ax.plot(row["seconds"], row["accuracy"], "o", color=colour, markersize=8)
        dots.append((row["seconds"], row["accuracy"]))
        if row["kind"] in ("cnn", "bare") and row["and shifted"] > row["accuracy"]:
            ends = [row["accuracy"], row["and shifted"]]
            ax.plot([row["seconds"]] * 2, ends, color=colour, linewidth=1, zorder=1)
            ax.plot(row["seconds"], ends[1], "o", color=colour, markerfacecolor="white", markersize=6)
            dots.append((row["seconds"], ends[1]))
    ax.plot([], [], "o", color=OURS, label="CNNClassifier")
    ax.plot([], [], "o", color=OTHERS, label="others")
    ax.plot([], [], "o", color="0.2", markerfacecolor="white", markersize=6, label="with mirrored and shifted images")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=3, frameon=False, fontsize=9)
    ax.set_xlabel(f"seconds of training, {machine['threads']} threads")
    ax.set_ylabel("accuracy on photographs not trained on")
    ax.set_title(f"Accuracy against seconds of training: {what}", fontsize=11, loc="left", pad=28)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.margins(y=0.12)
    ax.grid(color="0.92")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    place_labels(ax, rows, dots)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def place_labels(ax, rows, dots):
    """Write the names beside their dots, each at the nearest place where it covers no dot and no other name."""
    from matplotlib.transforms import Bbox

    figure = ax.figure
    figure.canvas.draw()
    figure.set_layout_engine("none")  # what was measured stays where it is
    frame = ax.get_window_extent()
    taken = [Bbox.from_extents(x - 8, y - 8, x + 8, y + 8) for x, y in ax.transData.transform(dots)]
    sides = [("left", "center", 1, 0), ("right", "center", -1, 0), ("center", "top", 0, -1), ("center", "bottom", 0, 1)]
    sides += [("left", "bottom", 1, 1), ("left", "top", 1, -1), ("right", "bottom", -1, 1), ("right", "top", -1, -1)]
    for row in rows:
        colour = OURS if row["kind"] == "cnn" else "0.25"
        for distance in range(9, 90, 4):
            for across, along, right, up in sides:
                name = ax.annotate(
                    row["contestant"],
                    (row["seconds"], row["accuracy"]),
                    (right * distance, up * distance),
                    textcoords="offset points",
                    ha=across,
                    va=along,
                    fontsize=9,
                    color=colour,
                )
                box = name.get_window_extent()
                inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
                if inside and not any(box.overlaps(other) for other in taken):
                    break
                name.remove()
            else:
                continue
            if distance > 20:
                ax.annotate(
                    "",
                    (row["seconds"], row["accuracy"]),
                    (right * distance, up * distance),
                    textcoords="offset points",
                    arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.7, "shrinkB": 5},
                )
            taken.append(box)
            break


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="npz file with X and y, or the JSON file of an earlier run")
    parser.add_argument("contestants", nargs="*", default=["cnn"])
    parser.add_argument("--train", type=int, default=None, help="train on the first N photographs")
    parser.add_argument("--test", type=int, default=5000, help="score on the last N photographs")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, ...")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every contestant")
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="Python that has the peers (`make peers`)")
    parser.add_argument("--json", type=Path, default=None, help="file to write the figures to")
    parser.add_argument("--plot", type=Path, default=None, help="picture of accuracy against seconds to draw")
    arguments = parser.parse_intermixed_args()
    if arguments.data.suffix == ".json":
        earlier = json.loads(arguments.data.read_text())
        rows, machine, what = earlier["rows"], earlier["machine"], earlier["what"]
        report(what, machine, rows)
    else:
        contestants = read_contestants(arguments.contestants)
        machine = setting(arguments.threads)
        data = read_photos(arguments.data, arguments.train, arguments.test)
        with threadpool_limits(arguments.threads, user_api="openmp"):
            rows = run(contestants, data, arguments, machine)
        seeds = f", medians of {arguments.seeds} seeds" if arguments.seeds > 1 else ""
        what = f"{len(data[0]):,} photographs of {data[0].shape[1]}×{data[0].shape[2]}{seeds}"
        report(what, machine, rows, arguments.json)
    if arguments.plot is not None:
        draw(rows, machine, what, arguments.plot)


if __name__ == "__main__":
    main()

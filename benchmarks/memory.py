"""Growth of the resident memory in `fit` and `predict`, for n and for 10 n images.

    python benchmarks/memory.py

Each measurement runs in a process of its own, on uint8 images of 28×28 made at random. What grows with the batch and
the network alone is the same in both; what is left of the difference is a share of the bytes of X.
"""

import json
import subprocess
import sys

from common import parser, report, setting

ONE = """
import json, resource, sys, threading, time
import numpy as np, torch
torch.set_num_threads({threads})
from sklearn_cnn import CNNClassifier

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def peak_of(function):
    before, peak, done = resident(), [0], threading.Event()
    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident())
    watcher = threading.Thread(target=watch)
    watcher.start()
    function()
    done.set()
    watcher.join()
    return max(peak[0], resident()) - before

rng = np.random.default_rng(0)
X = rng.integers(0, 256, ({n}, 28, 28), dtype=np.uint8)
y = np.arange({n}) % 10
clf = CNNClassifier({filters}, max_epochs=1, batch_size=128, random_state=0)
clf.fit(X[:2000], y[:2000]).predict(X[:2000])
figures = {{"bytes": X.nbytes, "fit": peak_of(lambda: clf.fit(X, y)), "predict": peak_of(lambda: clf.predict(X))}}
print(json.dumps(figures))
"""


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--images", type=int, default=20_000, help="n")
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    found = []
    for n in (arguments.images, 10 * arguments.images):
        code = ONE.format(threads=arguments.threads, n=n, filters=(8, 16))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found.append({"images": n, **json.loads(done.stdout)})
    added = found[1]["bytes"] - found[0]["bytes"]
    rows = [
        {
            "call": call,
            "growth at n, MB": found[0][call] / 2**20,
            "growth at 10 n, MB": found[1][call] / 2**20,
            "more, % of the bytes added to X": 100 * (found[1][call] - found[0][call]) / added,
        }
        for call in ("fit", "predict")
    ]
    report(f"Peak memory, n = {arguments.images:,}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()

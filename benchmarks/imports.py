"""Seconds of `import sklearn_cnn` against importing what it depends on.

python benchmarks/imports.py
"""

import subprocess
import sys
import time

import numpy as np
from common import parser, report, setting

STATEMENTS = {
    "torch, skorch, scikit-learn": "import torch, skorch, sklearn.pipeline, sklearn.model_selection",
    "sklearn_cnn": "import sklearn_cnn",
}


def main():
    arguments = parser(__doc__)
    arguments.set_defaults(repeats=11)
    arguments = arguments.parse_args()
    machine = setting(arguments.threads)
    seconds = {name: [] for name in STATEMENTS}
    for turn in range(arguments.repeats + 1):
        for name, statement in STATEMENTS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            if turn:  # the first fills the file caches
                seconds[name].append(time.perf_counter() - start)
    base = next(iter(STATEMENTS))
    rows = [
        {
            "import": name,
            "seconds": float(np.median(found)),
            "over the first, %": 100 * (float(np.median(np.divide(found, seconds[base]))) - 1),
        }
        for name, found in seconds.items()
    ]
    report(f"Imports, each in a process of its own, medians of {arguments.repeats}", machine, rows, arguments.json)


if __name__ == "__main__":
    main()

"""What the benchmarks share: measuring in turn, and saying what was measured on what."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import sklearn
import skorch
import torch

import sklearn_cnn


def parser(doc, *, data=False, peers=False):
    """The arguments that all benchmarks understand."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        made.add_argument("data", type=Path, help="folder with the four idx files of MNIST or Fashion-MNIST")
    if peers:
        made.add_argument("--peers", default=".venv-peers/bin/python", help="Python that has the peers (`make peers`)")
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of every contestant")
    made.add_argument("--repeats", type=int, default=5)
    made.add_argument("--json", type=Path, default=None, help="file to write the figures to")
    return made


def setting(threads):
    """Versions and hardware, and the threads that torch now has."""
    torch.set_num_threads(threads)
    return {
        "sklearn_cnn": sklearn_cnn.__version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "skorch": skorch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
    }


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def described(machine):
    """Versions and hardware in a line."""
    return ", ".join(f"{name} {value}" for name, value in machine.items())


def in_turn(contestants, repeats, warm_up=1):
    """Seconds of each contestant, one after the other and over again: the machine may be noisy."""
    for function in contestants.values():
        for _ in range(warm_up):
            function()
    seconds = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, function in contestants.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def report(what, machine, rows, json_file=None):
    """Print rows, dicts with the same keys, as a table; write them to a file where one is wanted."""
    print(f"\n{what}")
    print(described(machine))
    shown = [{name: _shown(value) for name, value in row.items()} for row in rows]
    widths = {name: max(len(name), *(len(row[name]) for row in shown)) for name in shown[0]}
    print("  ".join(name.ljust(width) for name, width in widths.items()))
    for row in shown:
        print("  ".join(row[name].ljust(width) for name, width in widths.items()), flush=True)
    if json_file is not None:
        json_file.write_text(json.dumps({"what": what, "machine": machine, "rows": rows}, indent=1))


def _shown(value):
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


class Peer:
    """A contestant in a Python of its own, which does what it is told a line at a time."""

    def __init__(self, python, script, *arguments):
        if not Path(python).exists():
            sys.exit(f"there are no peers at {python}: `make peers` installs them, or pass --peers PYTHON.")
        self.process = subprocess.Popen(
            [python, str(Path(__file__).parent / "peers" / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, command):
        """Send a command; the answer is one line of JSON."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        sys.exit(f"the peer ended with code {self.process.wait()} at {command!r}; run its script by hand to see why.")

    def end(self):
        self.process.stdin.close()
        self.process.wait()

"""Settings of all tests."""

import os
import sys

import pytest
import torch
from hypothesis import HealthCheck, settings

# The networks of the tests are tiny: a second thread gains nothing, and costs much where the machine is busy.
torch.set_num_threads(1)

# "ci" draws the same examples in every run and keeps none of them. `make fuzz` chooses "fuzz", which draws others each
# time and keeps those that fail in .hypothesis. A fit takes longer than hypothesis has patience for.
settings.register_profile(
    "ci",
    max_examples=50,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "fuzz", max_examples=5_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")

os.environ["MPLBACKEND"] = "Agg"  # draws without a screen, on machines that have one too

# The tests of checkpoints alone would sync 1,400 times, and beside a program that writes two syncs took up to 40 ms.
# What syncing is for shows only when the power fails. That it is asked for, and when, has a test; processes that tests
# start sync, but for the one that is killed again and again.
os.fsync = os.fstat


def pytest_addoption(parser):
    parser.addoption(
        "--row",
        action="append",
        type=int,
        default=[],
        metavar="N",
        help="run only the tests of this row of docs/reliability.md; may be given several times",
    )


def pytest_collection_modifyitems(config, items):
    rows = set(config.getoption("--row"))
    if rows:
        kept = [item for item in items if rows & {mark.args[0] for mark in item.iter_markers("reliability")}]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept


@pytest.fixture(autouse=True)
def close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

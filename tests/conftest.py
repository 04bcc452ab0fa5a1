"""Settings of all tests."""

import os
import sys

import pytest
import torch

# The networks of the tests are tiny: a second thread gains nothing, and costs much where the machine is busy.
torch.set_num_threads(1)

os.environ["MPLBACKEND"] = "Agg"  # draws without a screen, on machines that have one too


@pytest.fixture(autouse=True)
def close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

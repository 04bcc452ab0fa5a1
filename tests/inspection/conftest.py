"""Figures of these tests: drawn without a screen, and closed."""

import pytest


@pytest.fixture(autouse=True)
def figures_without_a_screen():
    plt = pytest.importorskip("matplotlib.pyplot", reason="the extra 'plot' brings it")
    plt.switch_backend("Agg")
    yield
    plt.close("all")

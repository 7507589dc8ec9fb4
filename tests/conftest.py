"""Theano is imported after the package has set it up, whichever test comes first; figures do not outlive their test."""

import sys

import pytest

import vocalsynth_utils  # noqa: F401


@pytest.fixture(autouse=True)
def close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")

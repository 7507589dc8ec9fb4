"""Every figure: each function returns the axes it drew on.

Parameters they share: `ax`, the matplotlib axes to draw on (`axes`, an array of them, where there are several panels),
by default those of a new figure; `title`, above them; `sr`, the sample rate in Hz; `y`, a signal, float array
of shape (n_samples,), full scale 1. What is compared comes as a dict, by the names that the legend shows. What a
parameter must be stands beside it; anything else is refused with a ValueError that says what it was.

Reference is grey, generated orange, train blue, valid vermilion, baselines are dashed; several lines differ in dashes,
markers and width too. A figure shown in a notebook carries its description in words, `describe`.
`plots.widgets`, things to play with, is not imported here, for it needs ipywidgets:
``from vocalsynth_utils.plots import widgets``.
"""

from .curves import cost_growth, error_in_frame, gradient_sizes, learning_curve
from .diagrams import frame_view, framing, unrolled_network
from .free_running import attractor, continuation, levels, order, recurrence, survival
from .signals import comparison, scaling_histograms, spectrogram, waveform, waveform_and_spectrogram
from .style import COLOURS, describe
from .sweep_figures import dots, learning_curves, remedies

__all__ = ["COLOURS", "attractor", "comparison", "continuation", "cost_growth", "describe", "dots", "error_in_frame"]
__all__ += ["frame_view", "framing", "gradient_sizes", "learning_curve", "learning_curves", "levels", "order"]
__all__ += ["recurrence", "remedies", "scaling_histograms", "spectrogram", "survival", "unrolled_network", "waveform"]
__all__ += ["waveform_and_spectrogram"]

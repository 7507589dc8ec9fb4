"""The one-level voice of WORLD frames: a sampler in C++, rejection sampling, a post-filter, and their calibration.

`calibrate` measures once, after training, what a run's voice lacks; `hooks` gives `generation.generate` what makes up
for it.  docs/world_mdn.md tells the whole.
"""

from .calibration import Calibration, calibrate, hooks, load_calibration

__all__ = ["Calibration", "calibrate", "hooks", "load_calibration"]

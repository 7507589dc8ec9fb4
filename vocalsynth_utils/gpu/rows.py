"""Batches of a dataset whose rows lie on a device, as they are stored: int16 where they are samples."""

import numpy as np
import torch


class Rows:
    """A dataset whose `batch` is a tensor on a device, the same to the bit; all else is the dataset's."""

    def __init__(self, dataset, device):
        self._dataset = dataset
        self._rows = torch.from_numpy(np.array(dataset.rows)).to(device)
        as_tensor = lambda values: torch.from_numpy(np.asarray(values, np.float32)).to(device)
        self._shift, self._scale = as_tensor(dataset.scaling.shift), as_tensor(dataset.scaling.scale)

    def __getattr__(self, name):
        if name == "_dataset":  # of one that copy or pickle has begun to make
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def batch(self, starts, n_steps):
        """As the dataset's: float32 tensor (n_batch, n_steps, n_features), time-major in memory."""
        length, every = n_steps * self.rows_per_frame, 1 if self._rows.ndim == 1 else self.rows_per_frame
        pieces = [self._rows[start : start + length : every].view(n_steps, -1) for start in map(int, starts)]
        X = torch.stack(pieces, dim=1)  # (n_steps, n_batch, n_features)
        if X.dtype == torch.int16:
            X = X.float() / 32768
        return ((X - self._shift) / self._scale).transpose(0, 1)

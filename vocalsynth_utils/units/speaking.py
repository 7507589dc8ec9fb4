"""Text that goes on: the language model in numpy, a segment at a time; a compiled graph's own cost is ten times more.

The equations are those of `fused.layers` and of `LanguageModel`.
"""

import numpy as np

from ..fused.layers import GATES, PREFIXES
from .language import UNIT


class Speaker:
    """A `LanguageModel`'s parameters as arrays, and the state after the segments that it has heard."""

    def __init__(self, language):
        value, lstm = lambda layer: (layer.W.get_value(), layer.b.get_value()), language.lstm
        gates = [[getattr(lstm, prefix + gate).get_value() for gate in GATES] for prefix in PREFIXES]
        W_in, self._W_hid, b = (np.concatenate(each, axis=-1) for each in gates)
        W_unit, W_length = language.embedding.W_unit.get_value(), language.embedding.W_length.get_value()
        self._of_unit, self._of_length = W_unit @ W_in[:UNIT] + b, W_length @ W_in[UNIT:]  # (n, 4 n_units)
        self._peepholes = [p.get_value() for p in lstm._peephole_params()]
        self._inside = lstm.form == "textbook"  # the output gate's peephole, under its sigmoid
        self._unit, self._length = value(language.unit), value(language.length)
        W, b = value(language.length.input_layer)
        self._hidden, self._hidden_of_unit = W[: lstm.num_units], W_unit @ W[lstm.num_units :] + b
        self.hid, self.cell = lstm.hid_init.get_value()[0], lstm.cell_init.get_value()[0]

    def hear(self, unit, length):
        """Take in one segment."""
        gates = self._of_unit[unit] + self._of_length[length] + self.hid @ self._W_hid
        i, f, c, o = np.split(gates, 4)
        w_i, w_f, w_o = self._peepholes
        cell = _sigmoid(f + w_f * self.cell) * self.cell + _sigmoid(i + w_i * self.cell) * np.tanh(c)
        o = _sigmoid(o + w_o * cell) if self._inside else _sigmoid(o) + w_o * cell
        self.hid, self.cell = o * np.tanh(cell), cell

    def units(self):
        """Logits of the unit that follows: (vocabulary,)."""
        W, b = self._unit
        return self.hid @ W + b

    def lengths(self, unit):
        """Logits of its length, from 1 frame on: (N_LENGTHS,)."""
        W, b = self._length
        return (np.maximum(self.hid @ self._hidden + self._hidden_of_unit[unit], 0) @ W + b)[1:]


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def say(language, primer, rng, temperature=1.0):
    """Text that goes on after a primer, `Text`, for ever: yields (unit, length), ints, by the Gumbel-max trick.

    Every `n_follow` segments the state is made anew from the last `n_heard`: beyond the length of training sequences
    it becomes one that nothing was learned from, and pauses grow.
    """
    speaker, past = Speaker(language), [*zip(*primer)]
    begun = speaker.hid, speaker.cell
    draw = lambda logits: int(np.argmax(logits / temperature - np.log(-np.log(rng.uniform(1e-12, 1, len(logits))))))
    while True:
        past, (speaker.hid, speaker.cell) = past[-language.n_heard :], begun
        for segment in past:
            speaker.hear(*segment)
        for _ in range(language.n_follow):
            unit = draw(speaker.units())
            past.append((unit, 1 + draw(speaker.lengths(unit))))
            yield past[-1]
            speaker.hear(*past[-1])

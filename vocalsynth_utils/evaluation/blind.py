"""A blind listening test: clips of several kinds in an order of chance, answers that are kept, what guessing gives."""

import csv
import hashlib
from pathlib import Path

import numpy as np
from scipy.stats import binom

from .evaluator import shuffled

UNLIKELY = 0.05  # share of guessers; who does better than all but these is said to hear it


def kinds(heldout, generated, sr, resynthesise=None, seed=0):
    """What is to be told apart, a dict of signals (n_samples,), the voice first: no two have the same second of it.

    `resynthesise` is as from `codec_of`; of `seed` is the order of the snippets of 50 ms in ``shuffled``.
    """
    real, coded, torn = np.array_split(np.asarray(heldout, np.float32), 3)
    codec = {"codec": resynthesise(coded)} if resynthesise else {}
    return {"real": real, **codec, "generated": generated, "shuffled": shuffled(torn, sr, np.random.default_rng(seed))}


class BlindTest:
    """Clips to be told apart by ear, all of one level, none louder than the voice or peaking above it.

    `clips` is a float32 array (n_clips, n_samples), `kinds` a list of what an answer may be, `answers` a dict of str by
    the clip's number, from 0.

    Parameters
    ----------
    sounds : dict of float arrays (n_samples,), full scale 1, by kind, the voice itself first, as from `kinds`
    sr : int, Hz
    n, seconds : int and float, clips of each kind, from the louder half of its sound, and how long one lasts
    seed : int, of which clips, and of their order
    path : path, optional, of a CSV file that answers are added to; those to these same clips are taken from it
    """

    def __init__(self, sounds, sr=16000, n=3, seconds=3.0, seed=0, path=None):
        rng, self.sr, self.kinds, self._path = np.random.default_rng(seed), sr, list(sounds), path and Path(path)
        clips = np.concatenate([_some(name, y, round(seconds * sr), n, sr, rng) for name, y in sounds.items()])
        order = rng.permutation(len(clips))
        self._truth = [self.kinds[i // n] for i in order]
        self.clips = _matched(clips[order], sounds[self.kinds[0]])
        self._name, self.answers = hashlib.sha256(self.clips.tobytes()).hexdigest()[:12], {}
        if path and self._path.exists():
            with open(path, newline="", errors="replace") as file:
                rows = [row for row in csv.reader(file) if len(row) == 4 and row[0] == self._name]
            self.answers = {int(clip): kind for _, clip, _, kind in rows if self._fits(clip, kind)}

    def _fits(self, clip, kind):
        return str(clip).isdecimal() and int(clip) < len(self.clips) and kind in self.kinds

    def answer(self, clip, kind):
        """Say of which kind a clip is, by its number from 0; the last word counts.  ValueError for what is neither."""
        if not self._fits(clip, kind):
            what = f"there is no clip={clip!r} or no kind={kind!r}"
            raise ValueError(f"{what}; clips are 0 to {len(self.clips) - 1}, kinds {', '.join(self.kinds)}")
        self.answers[clip] = kind
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a", newline="") as file:
                heads = [] if file.tell() else [("test", "clip", "kind", "answer")]
                csv.writer(file, lineterminator="\n").writerows([*heads, (self._name, clip, self._truth[clip], kind)])

    def score(self):
        """Answers so far, how many are right, the share that guesses are, and that of guessers who do as well."""
        right = sum(self._truth[clip] == kind for clip, kind in self.answers.items())
        n, guessing = len(self.answers), 1 / len(self.kinds)
        return n, right, guessing, float(binom.sf(right - 1, n, guessing))

    def verdict(self):
        """The score in words, and how often each kind was taken for the voice: str."""
        n, right, guessing, chance = self.score()
        if not n:
            return f"not tried yet; guessing gives {guessing:.0%} of {len(self.clips)} clips"
        heard = "you hear what they are" if chance < UNLIKELY else "that may be luck"
        said = {was: [kind for i, kind in self.answers.items() if self._truth[i] == was] for was in self.kinds}
        taken = (f"{was} {of.count(self.kinds[0])} of {len(of)}" for was, of in said.items() if of)
        says = f"{right} of {n} right ({right / n:.0%}, guessing gives {guessing:.0%})"
        says = f"{says}; {chance:.1%} of guessers do as well or better: {heard}"
        return f"{says}\ntaken for {self.kinds[0]}: {', '.join(taken)}"


def _some(name, y, length, n, sr, rng):
    """Clips (n, length) of the louder half of a sound; ValueError where it has not so many."""
    whole = np.asarray(y, np.float32)[: len(y) // length * length].reshape(-1, length)
    power = whole.var(axis=1)
    n_heard = np.count_nonzero(power)
    if n_heard < n:
        what = f"{name} lasts {len(y) / sr:.1f} s, {n_heard} clips of {length / sr:g} s, fewer than n={n}"
        raise ValueError(f"{what}; ask for fewer or shorter ones, or give more sound")
    return whole[rng.permutation(np.argsort(-power, kind="stable")[: max(n, n_heard // 2)])[:n]]


def _matched(clips, voice):
    """Clips (n, length) brought to one level: the voice's, or the highest below at which none peaks above it."""
    clips = clips - clips.mean(axis=1, keepdims=True)
    clips /= clips.std(axis=1, dtype=np.float64, keepdims=True)
    level = min(np.std(voice, dtype=np.float64), np.abs(voice).max() / np.abs(clips).max())
    return (level * clips).astype(np.float32)

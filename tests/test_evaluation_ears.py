"""Ears that others made: what they are asked and how their answers are put together; themselves where they are."""

import importlib.util

import numpy as np
import pytest

from vocalsynth_utils import evaluation, pipeline, synthetic
from vocalsynth_utils.__main__ import main
from vocalsynth_utils.evaluation import ears, sound_units

SR = 16000
NEEDS_EARS = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ears.NEEDED)), reason="the extra [ears] is not installed: make EARS=1"
)


@pytest.fixture
def stubs(monkeypatch):
    """Opinion is the highest sample; a phone each second, its name the second's first sample, 0 for silence."""
    monkeypatch.setattr(ears, "check", lambda: None)
    monkeypatch.setattr(ears, "opinion", lambda y: (float(y.max()), float(y.min())))
    monkeypatch.setattr(ears, "phones", lambda y: ["SIL" if x == 0 else str(x) for x in y[:: ears.RATE]])


def seconds(*values, sr=SR):
    """A signal that keeps each value for a second."""
    return np.repeat(np.float32(values), sr)


@pytest.mark.usefixtures("stubs")
def test_figures_are_means_over_whole_stretches_as_long_as_the_heldout_part():
    train, heldout = seconds(*[1, 2, 3] * 10), seconds(1, 2, 3, 1, 2, 3)
    generated = seconds(4, 4, 4, 4, 4, 4, *[1, 0, 2, 3, 1, 2], 9)  # the last second fills no stretch
    result = ears.listen(train, heldout, generated, SR, lambda y: y / 2)
    assert result["dnsmos"] == 3.5 and result["dnsmos_per_120s"] == [4, 3] and result["dnsmos_codec"] == 1.5
    assert result["p808_per_120s"] == [4, 0]
    assert result["repeated_phones_per_120s"] == [0.75, 0] and result["repeated_phones_real"] == 0.25
    known = ["1.0", "2.0", "3.0"] * 10
    expected = sound_units.perplexity(known, ["1.0", "2.0", "3.0"] * 2, ears.N_PHONES)
    assert result["phone_perplexity_real"] == expected < result["phone_perplexity_per_120s"][0]
    assert set(result) >= {f"{name}_shuffled" for name in ears.EARS}


@pytest.mark.usefixtures("stubs")
def test_a_voice_of_another_rate_is_heard_at_sixteen_kilohertz(monkeypatch):
    heard = []
    monkeypatch.setattr(ears, "opinion", lambda y: heard.append(len(y)) or (0, 0))
    y = seconds(1, 2, 3, sr=24000)
    ears.listen(y, y, y, 24000)
    assert set(heard) == {3 * SR}


def test_without_the_extra_one_line_says_how_to_get_it(tiny_run, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(pipeline, "generate", lambda *args: pytest.fail("it took its time first"))
    with pytest.raises(ValueError, match=r"need speechmos, .* not installed here; type `make EARS=1`"):
        ears.check()
    assert main(["evaluate", str(tiny_run), "--ears"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vocalsynth evaluate: the ears need") and "pip install 'vocalsynth-utils[ears]'" in line


def test_the_table_has_what_is_tuned_to_and_what_took_no_part_apart():
    result = {"fd": 1.0, "okay": 2.0, "ok_real": 0.5, "p808_real": 4.0, "unit_perplexity": 20.0, "repetition": 0.3}
    lines = [line.split() for line in evaluation.table(result).splitlines()]
    heads = [line[0] for line in lines if line and line[-1].endswith(":")]
    assert heads == ["tuned", "took", "chosen", "besides:"]
    tuned, independent, ears, rest = (i for i, line in enumerate(lines) if line and line[-1].endswith(":"))
    assert [line[0] for line in lines[tuned + 1 : independent - 1]] == ["fd", "ok_real"]
    assert [line[0] for line in lines[independent + 1 : ears - 1]] == ["unit_perplexity"]
    assert [line[0] for line in lines[ears + 1 : rest - 1]] == ["p808_real"]
    assert [line[0] for line in lines[rest + 1 :]] == ["okay", "repetition"]


@NEEDS_EARS
@pytest.mark.slow
def test_opinion_falls_with_confetti_and_noise():
    voice = synthetic.sing(20, seed=11)
    shuffled = np.random.default_rng(0).permutation(voice.reshape(-1, 800)).ravel()
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * SR).astype(np.float32)
    (voice, _), (shuffled, _), (noise, _) = map(ears.opinion, (voice, shuffled, noise))
    assert voice > shuffled and voice > noise


@NEEDS_EARS
@pytest.mark.slow
def test_silence_has_hardly_a_phone_and_a_loop_repeats_them():
    assert len(ears.phones(np.zeros(5 * SR, np.float32))) < 5
    voice = synthetic.sing(22, seed=11)
    once, loop = (ears.phones(y) for y in (voice[: 20 * SR], np.tile(voice[2 * SR : 4 * SR], 10)))
    assert len(once) > 30 and sound_units.repeated(loop) > 0.3 + sound_units.repeated(once)

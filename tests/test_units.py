"""Two levels by other routes: brute force, plain loops and numpy against what finds, reads, says and trains text."""

import copy
import itertools
import pickle
from pathlib import Path

import lasagne
import numpy as np
import pytest
import scipy.special
import scipy.stats
import theano
import theano.tensor as T

from vocalsynth_utils import dataset, features, generation, model, pipeline, preprocessing, runs, training, units
from vocalsynth_utils.recipes import get
from vocalsynth_utils.runs import checkpoints, exporting
from vocalsynth_utils.units import language as language_models
from vocalsynth_utils.units import text as texts

SIZES = dict(n_units=(8,), vocabulary=5, language_units=12, language_dropout=0.0, n_steps=12, n_batch=4)
TINY = get("world-units").replace(**SIZES, batches_per_epoch=5, n_epochs=4, warmup=0)
WIDTH = features.n_features(TINY)
FIRST = WIDTH - features.N_ENVELOPE
RATE = 200  # rows a second: 80 samples apart
PRICES = texts.CHANGE, *texts.OTHER_CHANGES  # at which the training part is read


# units and the text that they write ------------------------------------------------------------------------------


def voice(n_rows, n_sounds, seed=0, noise=0.2, longest=200):
    """Rows (n_rows, n_features) that stay with one of some envelopes for 3 to so many rows at a time."""
    rng = np.random.default_rng(seed)
    sounds, rows = rng.normal(0, 1, (n_sounds, WIDTH)), []
    while sum(map(len, rows)) < n_rows:
        rows.append(np.repeat(sounds[rng.integers(n_sounds)][None], rng.integers(3, longest), axis=0))
    rows = np.concatenate(rows)[:n_rows]
    return (rows + noise * rng.normal(0, 1, rows.shape)).astype(np.float32)


def dataset_of(rows, folder="nowhere"):
    """A dataset that stands in memory alone, of rows 80 samples apart; no part begins where a frame of another does."""
    n, ends = len(rows), [0, round(0.8 * len(rows)) + 1, round(0.9 * len(rows)) + 2, len(rows)]
    ranges = dict(zip(dataset.SPLITS, zip(ends, ends[1:])))
    scaling = preprocessing.Scaling.fit("standardise", rows[: ends[1]])
    limits = scaling.apply(np.quantile(rows, dataset.LIMITS, axis=0)).tolist()
    settings = {name: getattr(TINY, name) for name in dataset.PREPARED_FIELDS}
    samples = (3000 * np.random.default_rng(0).normal(size=80 * n)).astype(np.int16)
    return dataset.Dataset(Path(folder), settings, {}, rows, samples, ranges, 80, scaling, limits)


@pytest.fixture(scope="module")
def data():
    return dataset_of(voice(3000, 7, noise=2.0, longest=40))  # so that what a change costs matters


@pytest.fixture(scope="module")
def labelled(data):
    return units.Labelled(data, units.Centres.find(data, 7))


def path_cost(x, centres, path, price):
    """Squared distance of rows from the centres along a path, and a price for each change."""
    return np.square(x - centres[list(path)]).sum() + price * np.count_nonzero(np.diff(path))


@pytest.mark.parametrize("price", [0.0, 0.5, 2.0, 16.0])
@pytest.mark.parametrize("n_rows, chunk, most", [(5, 5, 9), (4, 9, 9), (40, 5, 9), (40, 3, 8), (32, 5, 9)])
def test_labels_are_the_cheapest_of_all_paths(monkeypatch, price, n_rows, chunk, most):
    monkeypatch.setattr(texts, "CHUNK", chunk)
    monkeypatch.setattr(texts, "MOST_CHUNKS", most)
    rng = np.random.default_rng(1)
    x, centres = rng.normal(0, 1, (n_rows, 2)).astype(np.float32), rng.normal(0, 1, (3, 2)).astype(np.float32)
    path = units.Centres(centres).label(x, price)
    assert path.shape == (n_rows,)
    n = min(5, n_rows)
    for at in range(0, n_rows - n + 1, n):  # chunks of 5, each by itself; what ends before its chunk is left out
        costs = [path_cost(x[at : at + n], centres, p, price) for p in itertools.product(range(3), repeat=n)]
        assert path_cost(x[at : at + n], centres, path[at : at + n], price) == pytest.approx(min(costs), abs=1e-4)


@pytest.mark.parametrize("n_rows", [1, 3, 100, 1000])
def test_without_a_price_the_nearest_centres_and_with_a_huge_one_a_unit_for_each_chunk(monkeypatch, n_rows):
    monkeypatch.setattr(texts, "CHUNK", 64)
    rng = np.random.default_rng(2)
    x, centres = rng.normal(0, 1, (n_rows, 4)).astype(np.float32), rng.normal(0, 1, (6, 4)).astype(np.float32)
    distance = np.square(x[:, None] - centres).sum(axis=2)
    assert np.array_equal(units.Centres(centres).label(x, 0.0), distance.argmin(axis=1))
    path, n = units.Centres(centres).label(x, 1e9), -(-n_rows // -(-n_rows // 64))
    for at in range(0, n_rows - n + 1, n):
        assert set(path[at : at + n]) == {distance[at : at + n].sum(axis=0).argmin()}


def test_a_price_has_to_be_named_and_the_higher_it_is_the_fewer_changes_there_are(data):
    centres, x = units.Centres.find(data, 7), texts.describe(data.scaled(0, 1500), RATE)
    with pytest.raises(TypeError, match="price"):
        centres.label(x)
    changes = [np.count_nonzero(np.diff(centres.label(x, price))) for price in (0, 1, 5, 8, 12, 50, 1e9)]
    assert changes == sorted(changes, reverse=True) and changes[0] > changes[3] > changes[-1] == 0


def test_rows_are_described_by_means_around_each_of_what_counts():
    X = np.random.default_rng(3).normal(0, 1, (20, WIDTH)).astype(np.float32)
    weights = [2.5] + [1.5] * 3 + [1.0] * 8 + [0.7] * 12 + [0.9]
    columns = [*range(FIRST, FIRST + 24), features.VOICING]
    for n, rate in ((5, 5 / 0.045), (9, RATE), (1, 22.0)):  # rows in 45 ms
        for i, row in enumerate(units.text.describe(X, rate)):
            around = [X[np.clip(j, 0, 19), columns] for j in range(i - n // 2, i + n // 2 + 1)]
            assert row.shape == (25,) and np.allclose(row, np.mean(around, axis=0) * weights, atol=1e-5)


def plain_segments(row_units, most):
    """(unit, first row, end) of each segment, a row at a time."""
    found = []
    for i, unit in enumerate(row_units):
        if found and found[-1][0] == unit and i - found[-1][1] < most:
            found[-1][2] = i + 1
        else:
            found.append([unit, i, i + 1])
    return found


@pytest.mark.parametrize("rows_per_frame", [1, 3])
def test_segments_are_what_a_plain_loop_finds_and_long_ones_are_several(rows_per_frame):
    rng, most = np.random.default_rng(4), texts.N_LENGTHS * rows_per_frame
    row_units = np.repeat(rng.integers(0, 4, 60), rng.integers(1, 3 * most, 60))
    text, firsts = texts.as_text(row_units, rows_per_frame)
    expected = plain_segments(row_units, most)
    assert text.units.tolist() == [unit for unit, _, _ in expected]
    assert firsts.tolist() == [first for _, first, _ in expected] + [len(row_units)]
    frames = [(end - first) / rows_per_frame for _, first, end in expected]
    assert np.abs(text.lengths - frames).max() < 1 and text.lengths.min() >= 1
    assert text.lengths.max() == texts.N_LENGTHS and len(text.units) > 60
    if rows_per_frame == 1:
        assert text.n_frames == len(row_units)


def plain_given(text, before, after):
    rows, neighbours = [], [before, *text.units, after]
    for i, (unit, length) in enumerate(zip(*text)):
        for k in range(length):
            rows.append([unit, neighbours[i], neighbours[i + 2], k / length, length / 24])
    return np.array(rows, np.float32)


def some_text(n, seed=5, n_units=5):
    rng = np.random.default_rng(seed)
    return units.Text(rng.integers(0, n_units, n), rng.integers(1, texts.N_LENGTHS + 1, n))


def test_what_frames_are_given_is_what_a_plain_loop_says():
    text = some_text(30)
    assert np.array_equal(text.given(), plain_given(text, text.units[0], text.units[-1]))
    assert np.array_equal(text.given(3, 4), plain_given(text, 3, 4))
    assert text.given().dtype == np.float32 and len(text.given()) == text.n_frames == text.lengths.sum()
    assert np.array_equal(text.as_input, np.stack(text, axis=1))


def test_a_labelled_batch_is_the_datasets_its_place_in_the_text_and_the_text_from_there_on(data, labelled):
    n_steps = 40
    starts = [0, 16, 17, 1500, *(end - 40 * 3 for _, end in data.ranges.values()), data.ranges["test"][0]]
    X = labelled.batch(starts, n_steps)
    assert X.shape == (len(starts), n_steps, WIDTH + 7) and X.dtype == np.float32
    assert np.array_equal(X[:, :, :WIDTH], data.batch(starts, n_steps)) and labelled.n_features == WIDTH
    centres = units.Centres.find(data, 7)
    for sequence, start in zip(X, starts):
        split = next(name for name, (first, end) in data.ranges.items() if first <= start < end)
        first, end = data.ranges[split]
        price = PRICES[start // 3 % 3] if split == "train" else texts.CHANGE
        row_units = centres.label(texts.describe(data.scaled(first, end), RATE), price)
        pieces = plain_segments(row_units, 3 * texts.N_LENGTHS)
        which = [next(i for i, p in enumerate(pieces) if p[1] <= start - first + 3 * t < p[2]) for t in range(n_steps)]
        for t, (row, i) in enumerate(zip(sequence[:, WIDTH:], which)):
            unit, begins, ends = pieces[i]
            around = [unit, pieces[max(i - 1, 0)][0], pieces[min(i + 1, len(pieces) - 1)][0]]
            place = (start - first + 3 * t - begins) / (ends - begins), (ends - begins) / 72
            said, begins, ends = pieces[(which[0] + t) % len(pieces)]
            length = min(max(round((ends - begins) / 3), 1), 24)
            assert row == pytest.approx([*around, *place, said, length], abs=1e-6)


def plain_text(data, price, first, end):
    """The text of a stretch of rows, in one piece, as `as_text` gives it."""
    row_units = units.Centres.find(data, 7).label(texts.describe(data.scaled(first, end), RATE), price)
    return texts.as_text(row_units, 3)


def test_parts_never_mix_and_their_texts_go_on_at_their_beginnings(data, labelled):
    for split, (first, end) in data.ranges.items():
        for number, price in enumerate(PRICES if split == "train" else PRICES[:1]):
            text, firsts = plain_text(data, price, first, end)
            assert firsts[0] == 0 and firsts[-1] == end - first and (np.diff(firsts) > 0).all()
            assert number or all(map(np.array_equal, text, labelled.texts[split]))
            begins, ends = first + 3 * number, end - 9
            ends -= 3 * ((ends // 3 - number) % 3) if split == "train" else 0  # a start that takes this text
            n, n_steps = len(text.units), (end - begins) // 3 - 2
            assert n < n_steps  # so that it goes around
            X, last = labelled.batch([begins], n_steps)[0, :, -2:], labelled.batch([ends], 3)[0, :, -2:]
            assert np.array_equal(X, np.resize(text.as_input, (n_steps, 2)))
            at = np.searchsorted(firsts, ends - first, "right") + np.arange(-1, 2)
            assert np.array_equal(last, text.as_input[at % n])


def test_the_training_part_is_read_in_finer_and_in_coarser_text(data):
    n_segments = [len(plain_text(data, price, *data.ranges["train"])[0].units) for price in PRICES]
    assert n_segments[1] > n_segments[0] > n_segments[2]


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "deepcopy", "pickle"]
)
def test_a_labelled_dataset_can_be_copied_and_pickled(labelled, again):
    other, starts = again(labelled), [0, 16, 17]
    assert other.ranges == labelled.ranges and np.array_equal(other.batch(starts, 9), labelled.batch(starts, 9))
    with pytest.raises(AttributeError, match="nowhere"):
        _ = other.nowhere


def test_other_parts_have_no_say_in_what_the_units_are_nor_in_each_others_text(data, labelled):
    first, end = data.ranges["train"]
    other = copy.copy(data)
    rows = data.rows.copy()
    rows[end:] = np.random.default_rng(6).normal(0, 3, rows[end:].shape)
    object.__setattr__(other, "rows", rows)
    centres = units.Centres.find(data, 7)
    assert np.array_equal(centres.centres, units.Centres.find(other, 7).centres)
    again = units.Labelled(other, centres).texts
    assert all(np.array_equal(a, b) for a, b in zip(again["train"], labelled.texts["train"]))
    assert len(again["valid"].units) != len(labelled.texts["valid"].units)
    rows[first:end] *= 2
    assert not np.array_equal(centres.centres, units.Centres.find(other, 7).centres)


def test_units_are_the_sounds_of_a_voice_and_a_seed_decides_which_is_which():
    data = dataset_of(voice(4000, 4, seed=8, noise=0.05))
    found = {seed: units.Centres.find(data, 4, seed).centres for seed in (0, 0, 1, 2)}
    assert np.array_equal(found[0], units.Centres.find(data, 4, 0).centres) and np.isfinite(found[0]).all()
    assert any(not np.array_equal(found[0], found[seed]) for seed in (1, 2))
    described = texts.describe(data.scaled(*data.ranges["train"]), RATE)
    spread = np.square(described[:, None] - found[0]).sum(axis=2).min(axis=1).mean()
    assert spread < 0.2 * np.square(described - described.mean(axis=0)).sum(axis=1).mean()


def test_fewer_different_rows_than_units_are_refused_in_one_line():
    rows = np.zeros((200, WIDTH), np.float32)
    rows[100:, FIRST] = 1
    data = dataset_of(rows)
    at_most = len(np.unique(texts.describe(data.scaled(*data.ranges["train"]), RATE), axis=0))
    with pytest.raises(
        ValueError, match=f"has {at_most} different rows, fewer than vocabulary={at_most + 1}; use a sm"
    ):
        units.Centres.find(data, at_most + 1)
    assert np.isfinite(units.Centres.find(data, at_most).centres).all()


# text as it is written, and a primer as text ------------------------------------------------------------------------


@pytest.mark.parametrize("n_units, voiced", [(7, 0.5), (128, 0.8), (128, 0.0), (300, 1.0), (2, 0.5)])
def test_names_are_unique_syllables_that_tell_voiced_from_unvoiced_soft_from_loud_and_dark_from_bright(n_units, voiced):
    rng = np.random.default_rng(n_units)
    centres = rng.normal(0, 1, (n_units, texts.N_DESCRIBED)).astype(np.float32)
    centres[:, -1] = np.where(np.arange(n_units) < voiced * n_units, 1, -1)
    names = units.Centres(centres).names
    assert len(names) == len(set(names)) == n_units
    order = {letters: "".join(letters) for letters in ("mnlrwyvzjbdg", "hfsxcpkt")}
    by_onset = {}
    for name, centre in zip(names, centres):
        onset, vowel = name[:-1], name[-1]
        (letters,) = (known for known in order if onset[0] in known)
        assert onset == onset[0] * len(onset) and vowel in "uoaei" and (letters[0] == "m") == (centre[-1] > 0)
        place = len(onset), letters.index(onset[0])
        by_onset.setdefault(letters, {}).setdefault(place, {})["uoaei".index(vowel)] = centre
    for rows in by_onset.values():
        levels = [[centre[0] for centre in rows[place].values()] for place in sorted(rows)]
        assert all(max(softer) <= min(louder) for softer, louder in zip(levels, levels[1:]))
        for row in rows.values():
            assert [-row[vowel][1] for vowel in sorted(row)] == sorted(-centre[1] for centre in row.values())


NAMES = ["mu", "no", "la", "he", "mmi"]


@pytest.mark.parametrize("n", [1, 2, 200])
def test_parsing_is_the_inverse_of_writing(n):
    text = some_text(n, seed=n)
    written = text.text(NAMES)
    again = units.Text.parse(written, NAMES)
    assert all(np.array_equal(a, b) and np.issubdtype(a.dtype, np.integer) for a, b in zip(again, text))
    assert again.text(NAMES) == written and len(written.split()) == n
    spaced = units.Text.parse("\n " + written.replace(" ", " \t\n") + " ", NAMES)
    assert all(map(np.array_equal, spaced, text))


def test_what_is_written_is_a_name_and_a_length():
    assert units.Text(np.array([0, 4, 3]), np.array([5, 24, 1])).text(NAMES) == "mu5 mmi24 he1"


@pytest.mark.parametrize(
    "text, wrong",
    [("", "an empty text"), (" \n", "an empty text")]
    + [
        (f"mu5 {word} no3", repr(word))
        for word in ("mu", "5", "mu0", "mu25", "mu-1", "mu5.5", "MU5", "ba5", "mu5,", "mmu5")
    ]
    + [
        ("mu 5", "'mu'"),
        ("he1 mu5no3", "'mu5no3'"),
        ("mu\0", r"'mu\x00'"),
        ("mu" + 5000 * "9", "'mu" + 28 * "9" + "'"),
    ],
)
def test_text_that_is_none_is_refused_in_one_line_that_names_the_first_wrong_word(text, wrong):
    with pytest.raises(ValueError) as raised:
        units.Text.parse(text, NAMES)
    expected = f"{wrong} is no segment; write a unit's name and 1 to 24 frames, as in mu5 mmi3"
    assert str(raised.value) == expected


def units_of_frames(text):
    """The unit of each frame."""
    return np.repeat(*text)


@pytest.mark.parametrize("split, n_frames", [("train", 80), ("train", 300), ("valid", 80), ("test", 60)])
def test_a_primer_is_read_much_as_the_same_stretch_of_the_dataset_is(data, labelled, split, n_frames):
    centres = units.Centres.find(data, 7)
    read = centres.read(data.sequence(split, n_frames), TINY)
    assert read.n_frames == n_frames and read.lengths.min() >= 1 and read.lengths.max() <= texts.N_LENGTHS
    text, firsts = plain_text(data, texts.CHANGE, *data.ranges[split])
    there = text.units[np.searchsorted(firsts, 3 * np.arange(n_frames), side="right") - 1]
    assert np.mean(units_of_frames(read) == there) > 0.7
    assert len(read.units) < 2 * len(np.unique(np.searchsorted(firsts, 3 * np.arange(n_frames), side="right")))


def test_a_primer_of_one_frame_is_one_segment(data):
    frame = data.sequence("valid", 1)
    for rows in (frame, np.repeat(frame, 24, axis=0)):
        read = units.Centres.find(data, 7).read(rows, TINY)
        assert read.lengths.tolist() == [len(rows)] and read.units.shape == (1,)


# the language model ------------------------------------------------------------------------------------------------


class Model:
    """A language model with its loss, its logits and a step of Adam, compiled once; `anew` makes it forget."""

    def __init__(self):
        lasagne.random.set_rng(np.random.RandomState(0))
        source = lasagne.layers.InputLayer((None, None, WIDTH + texts.N_GIVEN))
        _, given = units.conditioned(source, TINY.vocabulary, WIDTH, lambda layer: layer)
        self.language = units.LanguageModel(TINY, given)
        text, following = T.tensor3("text"), T.matrix("following")
        loss = self.language.loss(text)
        self.params = {p.name: p for p in lasagne.layers.get_all_params(self.language.outputs)}
        changes = lasagne.updates.adam(loss, list(self.params.values()), 0.01)
        self.loss, self.train = theano.function([text], loss), theano.function([text], loss, updates=changes)
        known = {self.language.text: text, self.language.next: following}
        outputs = [lasagne.layers.get_output(self.language.outputs, known, deterministic=d) for d in (False, True)]
        self.logits, self.heard = (theano.function([text, following], each) for each in outputs)
        self._begun = [(v, v.get_value()) for v in {*changes, *self.params.values()}]

    def anew(self):
        for variable, value in self._begun:
            variable.set_value(value)
        return self

    def said(self, primer, n, seed=0, temperature=1.0):
        """The next n segments, int (n, 2)."""
        rng = np.random.default_rng(seed)
        return np.array(list(itertools.islice(units.say(self.language, primer, rng, temperature), n)))


@pytest.fixture(scope="module")
def compiled_model():
    return Model()


@pytest.fixture
def made(compiled_model):
    return compiled_model.anew()


def test_the_loss_is_the_cross_entropy_of_its_own_logits(made):
    text = np.stack([some_text(9, seed).as_input for seed in (1, 2, 3)])
    following = text[:, 1:].reshape(-1, 2).astype(int)
    embedded = made.params["language.embedding.W_unit"].get_value()[following[:, 0]]
    surprises = []
    for k, logits in enumerate(made.logits(text[:, :-1], embedded)):
        log_p = scipy.special.log_softmax(logits.astype(float), axis=1)
        surprises.append(-log_p[np.arange(len(following)), following[:, k]])
    assert logits.shape == (24, texts.N_LENGTHS + 1)
    assert made.loss(text) == pytest.approx(np.sum(surprises, axis=0).mean(), rel=1e-5)


@pytest.mark.parametrize("form", ["textbook", "lasagne-0.1"])
def test_the_speaker_hears_as_the_graph_does(form):
    recipe = TINY.replace(lstm="fused" if form == "textbook" else "fused-lasagne-0.1")
    source = lasagne.layers.InputLayer((None, None, WIDTH + texts.N_GIVEN))
    _, given = units.conditioned(source, recipe.vocabulary, WIDTH, lambda layer: layer)
    language, rng = units.LanguageModel(recipe, given), np.random.default_rng(3)
    for parameter in lasagne.layers.get_all_params(language.outputs):
        parameter.set_value(rng.normal(0, 0.3, parameter.get_value().shape).astype(np.float32))
    text, following = some_text(12), T.matrix("following")
    known = {language.text: text.as_input[None], language.next: following}
    outputs = lasagne.layers.get_output(language.outputs, known, deterministic=True)
    embedded = language.embedding.W_unit.get_value()[np.r_[text.units[1:], 2]]
    by_graph, speaker = theano.function([following], outputs)(embedded), units.Speaker(language)
    for i, segment in enumerate(zip(*text)):
        speaker.hear(*segment)
        unit = text.units[i + 1] if i < 11 else 2
        for logits, expected in zip((speaker.units(), speaker.lengths(unit)), (by_graph[0][i], by_graph[1][i, 1:])):
            assert np.allclose(logits, expected, atol=1e-4)


def test_each_segment_is_judged_by_those_before_it_alone(made):
    text = some_text(9).as_input[None]
    other = text.copy()
    other[0, 5:] = (text[0, 5:] + 1) % 5
    embedded = np.zeros((9, language_models.UNIT), np.float32)
    for a, b in zip(made.logits(text, embedded), made.logits(other, embedded)):
        assert np.array_equal(a[:5], b[:5]) and not np.allclose(a[5:], b[5:])


def test_text_goes_on_by_the_odds_of_a_graph_that_hears_from_where_the_state_was_made_anew(made, monkeypatch):
    rng, language, n, odds, of_units = np.random.default_rng(2), made.language, 40, [], units.Speaker.units
    monkeypatch.setattr(units.Speaker, "units", lambda self: odds.append(of_units(self)) or odds[-1])
    for parameter in made.params.values():
        parameter.set_value(rng.normal(0, 0.4, parameter.get_value().shape).astype(np.float32))
    said, apart = made.said(some_text(n), 3 * language.n_follow), 0
    text = np.concatenate([some_text(n).as_input, said]).astype(np.float32)
    for i, given in enumerate(odds):
        anew = n + i // language.n_follow * language.n_follow - language.n_heard
        near, far = (
            made.heard(text[None, first : n + i], np.zeros((n + i - first, language_models.UNIT), np.float32))[0][-1]
            for first in (anew, 0)
        )
        assert np.allclose(given, near, atol=1e-4)
        apart += not np.allclose(given, far, atol=1e-3)
    assert len(odds) == len(said) and apart > 3  # or it would not matter


CYCLE = np.array([(0, 3), (1, 24), (2, 1), (1, 7), (4, 12)], np.float32)


@pytest.mark.slow
def test_a_text_that_goes_round_is_learned_and_gone_on_with(made):
    rng = np.random.default_rng(0)
    for _ in range(150):
        starts = rng.integers(0, 5, 8)
        loss = made.train(np.stack([np.resize(np.roll(CYCLE, -s, axis=0), (16, 2)) for s in starts]))
    assert loss < 0.5  # the first of them has to be guessed: which 1 it was
    text = np.resize(CYCLE, (40, 2))
    primer = units.Text(*text[:13].astype(int).T)
    assert np.array_equal(made.said(primer, 27, temperature=0.1), text[13:])


@pytest.mark.slow
def test_lengths_are_those_of_the_unit_they_go_with_and_no_more_can_be_learned_of_chance(made):
    rng, p = np.random.default_rng(1), np.array([0.4, 0.3, 0.2, 0.06, 0.04])
    losses = []
    for _ in range(160):
        which = rng.choice(5, (16, 16), p=p)
        losses.append(float(made.train(np.stack([which, 3 * which + 1], axis=2).astype(np.float32))))
    assert np.mean(losses[-40:]) == pytest.approx(scipy.stats.entropy(p), rel=0.1)  # in nats, and nothing for lengths
    said = made.said(some_text(3), 200, temperature=0.5)
    assert np.array_equal(said[:, 1], 3 * said[:, 0] + 1) and len(set(said[:, 0])) > 1


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_what_is_said_follows_its_distribution_sharpened_by_the_temperature(made, temperature):
    p, q = np.array([0.4, 0.3, 0.15, 0.1, 0.05]), np.zeros(texts.N_LENGTHS + 1) + 1e-9
    q[0], q[1:5] = 0.9, (0.5, 0.25, 0.15, 0.1)  # a length of 0 there is not, however likely
    for name, weights in (("unit", p), ("length", q)):
        made.params[f"language.{name}.W"].set_value(0 * made.params[f"language.{name}.W"].get_value())
        made.params[f"language.{name}.b"].set_value(np.log(weights).astype(np.float32))
    n, said = 1500, made.said(some_text(3), 1500, temperature=temperature)
    for column, weights in ((said[:, 0], p), (said[:, 1] - 1, q[1:5])):
        expected = weights ** (1 / temperature) / (weights ** (1 / temperature)).sum()
        counts = np.bincount(column, minlength=len(weights))
        assert scipy.stats.chisquare(counts, n * expected).pvalue > 1e-3
    after = np.histogram2d(said[:-1, 0], said[1:, 0], 5)[0]  # each by itself
    assert temperature < 1 or scipy.stats.chi2_contingency(after).pvalue > 1e-3


def test_what_is_said_is_of_the_primer_the_temperature_and_the_random_numbers(made):
    for name in ("unit.W", "length.W", "hidden.W"):  # or what was heard would hardly matter
        made.params[f"language.{name}"].set_value(4 * made.params[f"language.{name}"].get_value())
    primer = some_text(6)
    said = made.said(primer, 40, seed=3)
    assert np.array_equal(said, made.said(primer, 40, seed=3)) and np.array_equal(
        said[:9], made.said(primer, 9, seed=3)
    )
    others = made.said(primer, 40, seed=4), made.said(some_text(7, 1), 40, seed=3), made.said(primer, 40, 3, 3.0)
    assert not any(np.array_equal(said, other) for other in others)
    assert said[:, 0].min() >= 0 and said[:, 0].max() < 5 and said[:, 1].min() >= 1 and said[:, 1].max() <= 24


@pytest.mark.parametrize("least", [1, 2, 7, 64, 500])
def test_blocks_joined_are_what_the_whole_text_gives_however_many_segments_at_a_time(least):
    primer, text = some_text(4, 1), some_text(150, 2)
    made = list(language_models.blocks(zip(*text), primer, least))
    assert np.array_equal(np.concatenate(made), text.given(before=primer.units[-1]))


def test_blocks_of_a_text_without_end_come_as_they_are_said():
    primer, text = some_text(4, 1), some_text(20, 2)
    heard = []
    endless = (heard.append(segment) or segment for segment in itertools.cycle(zip(*text)))
    first = next(language_models.blocks(endless, primer, 10))
    assert len(heard) == 11 and np.array_equal(first, text.given(primer.units[-1])[: len(first)])
    assert len(first) == text.lengths[:10].sum()


# the network and its training --------------------------------------------------------------------------------------


def test_a_step_hears_the_frame_before_and_what_the_one_that_follows_is_given(labelled):
    network, X = model.build_network(TINY.replace(vocabulary=7), WIDTH), labelled.batch([0, 900], 6)
    heard, target = (v.eval() for v in network.steps(T.constant(X)))
    assert np.array_equal(heard[:, :, :WIDTH], X[:, :-1, :WIDTH]) and np.array_equal(target, X[:, 1:, :WIDTH])
    assert np.array_equal(heard[:, :, WIDTH:], X[:, 1:, WIDTH : WIDTH + 5])
    plain, _ = (v.eval() for v in model.build_network(TINY_FRAMES, WIDTH).steps(T.constant(X)))
    assert np.array_equal(plain, X[:, :-1])


TINY_FRAMES = TINY.replace(vocabulary=0, language_units=0)


def test_what_is_given_is_embedded_alike_in_the_graph_and_in_numbers(labelled):
    network = model.build_network(TINY.replace(vocabulary=7), WIDTH)
    given, X = network.language.given, labelled.batch([30], 9)[:, :, WIDTH : WIDTH + 5]
    vectors = given.vectors(X[0])
    assert vectors.dtype == np.float32 and vectors.shape[1] == given.output_shape[2]
    assert np.array_equal(given.get_output_for(T.constant(X)).eval()[0], vectors)


@pytest.fixture(scope="module")
def training_data():
    return dataset_of(voice(5000, 5, seed=9, longest=25))


@pytest.fixture
def quick(compiled, monkeypatch):
    """Training that compiles no graph twice and does not measure what came of it."""
    monkeypatch.setattr(training, "compile_trainer", compiled)
    monkeypatch.setattr(training.diagnostics, "write_result", lambda *_: None)


def arrays_of(folder, name="last"):
    arrays, _ = checkpoints.read(folder / f"{name}.npz")
    return {k: v for k, v in arrays.items() if k not in ("log.duration", "log.cpu_seconds")}


NOISY = TINY.replace(language_dropout=0.3, learning_rate=0.01, schedule="constant", n_epochs=6)  # soon learns by heart


@pytest.mark.slow
def test_resumed_equals_never_interrupted_and_the_language_model_kept_is_its_best(quick, training_data, tmp_path):
    after = []
    for row in training.train(NOISY, training_data, tmp_path / "whole"):
        after.append((row["valid_text_loss"], arrays_of(tmp_path / "whole")))
    best = min(range(len(after)), key=lambda i: after[i][0])
    assert 0 < best < len(after) - 1  # or it would not be tested
    last = after[-1][1]
    kept = {name.removeprefix("kept."): value for name, value in last.items() if name.startswith("kept.")}
    assert kept and all(name.startswith("language.") for name in kept)
    assert all(np.array_equal(value, after[best][1][name]) for name, value in kept.items())
    assert any(not np.array_equal(value, last[name]) for name, value in kept.items())

    for n in (1, best + 1):  # epochs before it is interrupted
        folder = tmp_path / str(n)
        started = training.train(NOISY, training_data, folder)
        list(itertools.islice(started, n))
        started.close()
        list(training.train(NOISY, training_data, folder, resume=True))
        parts = arrays_of(folder)
        assert parts.keys() == last.keys() and all(np.array_equal(last[name], parts[name]) for name in last)

    run = runs.open_run(tmp_path / "whole")
    assert [row["valid_text_loss"] for row in run.log()] == [loss for loss, _ in after]
    assert all(0 < row["valid_text_loss"] for row in run.log())
    exported = runs.export(run, tmp_path / "shared")
    shared = arrays_of(tmp_path / "shared", "best")
    assert not [name for name in shared if name.startswith(("kept.", "optimiser.", "log."))]
    for loaded in (run, runs.open_run(exported.folder)):
        values = {name: v.get_value() for name, v in model.parameters(generation.load_network(loaded)).items()}
        assert values.keys() == shared.keys()
        assert all(np.array_equal(value, kept.get(name, last[name])) for name, value in values.items())
        assert all(np.array_equal(value, shared[name]) for name, value in values.items())
    centres = units.Centres.find(training_data, 5, NOISY.seed).centres
    assert np.array_equal(shared["given.centres"], centres)


@pytest.mark.slow
def test_a_checkpoint_without_the_texts_losses_is_not_gone_on_with(quick, training_data, tmp_path):
    next(training.train(NOISY, training_data, tmp_path / "run"))
    run = runs.open_run(tmp_path / "run")
    arrays, meta = run.load("last")
    del arrays["log.valid_text_loss"]
    run.save("last", arrays, **{name: meta[name] for name in ("epoch", "valid_loss")})
    with pytest.raises(ValueError, match="lacks log rows of the 1 epochs trained"):
        next(training.train(NOISY, training_data, tmp_path / "run", resume=True))


def test_losses_of_both_levels_are_told_apart(compiled, training_data):
    trainer = compiled(NOISY, WIDTH, training_data.scaling)
    labelled = trainer.network.language.read(training_data, 0)
    X = labelled.batch(labelled.starts("valid", 12), 12)
    frames, text = trainer.valid(X)
    other = X.copy()
    other[:, :, -2:] = some_text(12).as_input
    again, other_text = trainer.valid(other)
    assert frames == again and text != other_text
    other = X.copy()
    other[:, :, :WIDTH] *= 2
    again, same = trainer.valid(other)
    assert frames != again and text == same
    frames, above = ({v.name for v in level} for level in model.trainable(trainer.network))
    assert not frames & above and all(name.startswith("language.") for name in above)
    learned = {name for name in trainer.parameters if not name.endswith(("_init", "centres"))}
    assert frames | above == learned


@pytest.mark.slow
def test_the_gradients_of_two_levels_are_clipped_apart(training_data):
    recipe = TINY.replace(optimiser="sgd", learning_rate=1.0, max_norm=0.01, input_noise=0.0)
    trainer = training.compile_trainer(recipe, WIDTH, training_data.scaling)
    labelled = trainer.network.language.read(training_data, 0)
    levels = model.trainable(trainer.network)
    before = [[v.get_value() for v in level] for level in levels]
    trainer.train(labelled.batch([0, 100, 200, 300], 12))
    for level, values in zip(levels, before):
        steps = [v.get_value().astype(float) - value for v, value in zip(level, values)]
        assert np.sqrt(sum(np.square(step).sum() for step in steps)) == pytest.approx(0.01, rel=0.02)


@pytest.mark.slow
def test_the_result_is_of_the_parameters_that_are_kept(compiled, training_data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "compile_trainer", compiled)
    rows = list(training.train(NOISY, training_data, tmp_path / "run"))
    text, result = [row["valid_text_loss"] for row in rows], runs.open_run(tmp_path / "run").result()
    assert result["best_epoch"] == len(rows) and min(text) < text[-1]  # of the frames the last, of the text the best
    kept = rows[-1]["valid_loss"] - text[-1] + min(text)
    assert result["valid_loss"] == pytest.approx(kept, abs=1e-4) and np.isfinite(result["test_loss"])


@pytest.mark.slow
def test_how_frames_err_is_kept_with_the_run_and_what_is_drawn_errs_so(compiled, training_data, tmp_path):
    list(training.train(TINY.replace(n_epochs=1), training_data, tmp_path / "run"))
    run = runs.open_run(tmp_path / "run")
    shared = exporting.export(run, tmp_path / "shared")
    n = WIDTH - 2
    assert run.errors().shape == (2, n, n) and np.array_equal(shared.errors(), run.errors())
    covariance = run.errors()[0]
    assert covariance == pytest.approx(covariance.T) and np.linalg.eigvalsh(covariance).min() > -1e-4
    primer = np.zeros((4, WIDTH), np.float32)
    expected = pipeline.generate(shared, 0.5, primer)
    (tmp_path / "shared" / "errors.npz").unlink()
    assert not np.array_equal(pipeline.generate(shared, 0.5, primer), expected)


@pytest.mark.slow
def test_errors_of_another_run_are_refused_in_one_line(tmp_path, compiled, training_data):
    list(training.train(TINY.replace(n_epochs=1), training_data, tmp_path / "run"))
    run = runs.open_run(tmp_path / "run")
    run.save_errors(np.zeros((2, 3, 3)), 1)
    with pytest.raises(ValueError, match="is not of this run; remove it"):
        run.errors()


@pytest.mark.slow
def test_what_is_told_of_clipping_is_of_each_level_by_itself(labelled):
    recipe = TINY.replace(vocabulary=7, max_norm=1.0)
    network = model.build_network(recipe, WIDTH)
    X = labelled.batch([0, 100, 200, 300], 12)
    probe = training.diagnostics.compile_probe(network, recipe)
    gradients, _ = probe(X)
    norm = {
        above: np.sqrt(sum((g**2).sum() for name, g in gradients.items() if name.startswith("language.") == above))
        for above in (True, False)
    }
    assert norm[True] < norm[False]
    for max_norm, share in ((0.9 * norm[True], 1.0), (1.1 * norm[True], 0.5), (1.01 * norm[False], 0.0)):
        probe = training.diagnostics.compile_probe(network, recipe.replace(max_norm=float(max_norm)))
        told = training.diagnostics.training_diagnostics(recipe, probe, [X])
        assert told["norm_clipped"] == share and told["gradient_norm"] == pytest.approx(
            np.hypot(*norm.values()), rel=1e-4
        )

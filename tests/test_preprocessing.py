"""Splitting, framing, sequences and scaling: exact shapes, and every transform with its inverse."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vocalsynth_utils.preprocessing import (
    Scaling,
    Statistics,
    deframe,
    frame,
    offsets,
    sequences,
    split,
    split_sizes,
    unsequence,
)

KINDS = ["mean", "minmax", "std", "standardise", "none"]
quick = settings(max_examples=60, deadline=None)
signals = hnp.arrays(np.float32, st.integers(3, 300), elements=st.floats(-1, 1, width=32))


def test_three_hours_in_seconds_and_sequences_of_fifty_have_the_shapes_of_2016():
    y = np.broadcast_to(np.int16(0), 172_800_000)
    X = [sequences(frame(part, 16000), 50) for part in split(y)]
    assert [x.shape for x in X] == [(172, 50, 16000), (21, 50, 16000), (21, 50, 16000)]
    assert all(np.shares_memory(x, y) for x in X)  # views, so nothing was copied


def test_frames_and_sequences_of_a_memory_map_stay_on_disk(tmp_path):
    np.save(tmp_path / "y.npy", np.arange(1000, dtype=np.int16))
    y = np.load(tmp_path / "y.npy", mmap_mode="r")
    X = sequences(frame(split(y)[0], 10), 4)
    assert np.shares_memory(X, y) and X.shape == (20, 4, 10) and X[1, 1, 1] == 51


# split


@quick
@given(st.integers(10, 10**9))
def test_split_loses_nothing_and_keeps_the_order(n):
    parts = split(n)
    assert [parts[0].start, parts[1].start, parts[2].start, n] == [0, parts[0].stop, parts[1].stop, parts[2].stop]
    assert np.allclose(np.array(split_sizes(n)) / n, (0.8, 0.1, 0.1), atol=1.01 / n)


@quick
@given(signals.filter(lambda y: len(y) >= 10))
def test_split_parts_joined_are_the_signal(y):
    np.testing.assert_array_equal(np.concatenate(split(y)), y)


def test_split_refuses_empty_parts_and_wrong_fractions():
    with pytest.raises(ValueError, match="4 samples split into"):
        split(np.zeros(4))
    for bad in [(0.8, 0.2, 0.0), (0.5, 0.5, 0.5), (0.9, 0.1), (1.2, -0.1, -0.1)]:
        with pytest.raises(ValueError, match="fractions="):
            split(np.zeros(100), bad)


# frame


@quick
@given(signals, st.data())
def test_deframe_undoes_frame_up_to_the_last_whole_frame(y, data):
    frame_length = data.draw(st.integers(1, len(y)))
    hop_length = data.draw(st.integers(1, frame_length))
    frames = frame(y, frame_length, hop_length)
    assert len(frames) == 1 + (len(y) - frame_length) // hop_length
    for i, f in enumerate(frames):
        np.testing.assert_array_equal(f, y[i * hop_length : i * hop_length + frame_length])
    z = deframe(frames, hop_length)
    np.testing.assert_array_equal(z, y[: len(z)])
    assert len(y) - len(z) < hop_length and z.dtype == y.dtype


def test_overlapping_frames_are_averaged():
    np.testing.assert_array_equal(
        deframe(np.array([[0.0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]]), 2), [0, 0, 0.5, 0.5, 1.5, 1.5, 2, 2]
    )


def test_int16_frames_come_back_exactly():
    x = np.random.default_rng(0).integers(-32768, 32768, 1000).astype(np.int16)
    np.testing.assert_array_equal(deframe(frame(x, 64, 13), 13), x[: len(deframe(frame(x, 64, 13), 13))])


def test_frame_errors_name_the_value_and_the_remedy():
    with pytest.raises(ValueError, match="y has 900 samples, fewer than one frame of 4000; use frame_length <= 900"):
        frame(np.zeros(900), 4000)
    with pytest.raises(ValueError, match="longer recording"):
        frame(np.zeros(0), 10)
    with pytest.raises(ValueError, match=r"shape \(3, 3\)"):
        frame(np.zeros((3, 3)), 2)
    for frame_length, hop_length in [(0, None), (2.5, None), (10, 0), (10, 11), (10, 2.0)]:
        with pytest.raises(ValueError, match="frame_length=|hop_length="):
            frame(np.zeros(100), frame_length, hop_length)
    with pytest.raises(ValueError, match="frames has shape"):
        deframe(np.zeros((0, 10)))


def test_frames_are_read_only_since_they_share_memory():
    with pytest.raises(ValueError, match="read-only"):
        frame(np.zeros(100), 10, 5)[0, 0] = 1


# sequences


@quick
@given(st.integers(1, 60), st.integers(1, 5), st.data())
def test_unsequence_undoes_sequences(n_frames, n_features, data):
    n_steps = data.draw(st.integers(1, n_frames))
    frames = np.arange(n_frames * n_features, dtype=np.float32).reshape(n_frames, n_features)
    X = sequences(frames, n_steps)
    assert X.shape == (n_frames // n_steps, n_steps, n_features)
    np.testing.assert_array_equal(unsequence(X), frames[: len(X) * n_steps])


def test_sequence_errors_name_the_value_and_the_remedy():
    with pytest.raises(ValueError, match="30 frames are fewer than one sequence of n_steps=50; use n_steps <= 30"):
        sequences(np.zeros((30, 4)), 50)
    with pytest.raises(ValueError, match="n_steps=0"):
        sequences(np.zeros((30, 4)), 0)
    with pytest.raises(ValueError, match="frames has shape"):
        sequences(np.zeros(30), 5)
    with pytest.raises(ValueError, match="X has shape"):
        unsequence(np.zeros((3, 3)))


# offsets


@quick
@given(st.integers(1, 20000), st.data())
def test_offsets_are_as_many_as_asked_for_and_evenly_spread(frame_length, data):
    n_offsets = data.draw(st.integers(1, min(frame_length, 200)))
    shifts = offsets(frame_length, n_offsets)
    gaps = np.diff(shifts + (frame_length,))  # the next shift would be the first again, one frame on
    assert len(shifts) == n_offsets and shifts[0] == 0
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


def test_the_seventh_offset_of_2016_is_not_made():
    assert offsets(4000, 6) == (0, 666, 1333, 2000, 2666, 3333)
    assert len(range(0, 4000, 4000 // 6)) == 7  # what its loop did
    for bad in (0, 11):
        with pytest.raises(ValueError, match=f"n_offsets={bad}"):
            offsets(10, bad)


# statistics


@quick
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(2, 200), st.integers(1, 4)), elements=st.floats(-1e3, 1e3)), st.data()
)
def test_statistics_by_block_equal_numpy_at_once(x, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=5)))
    s = Statistics()
    for block in np.split(x, cuts):
        s.update(block)
    assert s.n == len(x)
    for name in ("min", "max", "mean", "var", "std"):
        np.testing.assert_allclose(getattr(s, name), getattr(x, name)(axis=0), rtol=1e-9, atol=1e-9)


def test_statistics_are_accurate_far_from_zero_where_a_sum_of_squares_is_not():
    x = 1e8 + np.random.default_rng(0).normal(size=100_000)
    s = Statistics()
    for block in np.array_split(x, 37):
        s.update(block)
    assert s.var == pytest.approx(x.var(), rel=1e-6)
    assert np.mean(x**2) - x.mean() ** 2 != pytest.approx(x.var(), rel=1e-2)


def test_statistics_refuse_nan_and_mixed_features():
    s = Statistics()
    with pytest.raises(ValueError, match="NaN"):
        s.update(np.array([1.0, np.nan]))
    s.update(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="not of one signal"):
        s.update(np.zeros((3, 4)))


# scaling


def test_each_scaling_is_the_formula_it_is_named_after():
    x = np.array([-2.0, 0.0, 1.0, 7.0])
    expected = {
        "mean": (x - 1.5) / 9,
        "minmax": (x + 2) / 9,
        "std": x / x.std(),
        "standardise": (x - 1.5) / x.std(),
        "none": x,
    }
    for kind in KINDS:
        np.testing.assert_allclose(Scaling.fit(kind, x).apply(x), expected[kind], rtol=1e-6)


def test_the_variance_of_2016_is_0_0141():
    s = Statistics()
    s.n, s.min, s.max, s.mean, s._sum_of_squares = (
        172_800_000,
        *map(np.float64, (-8936, 9124, 0.0476, 2144.34**2 * 172_800_000)),
    )
    assert Scaling.fit("mean", s).variance == pytest.approx(0.0141, abs=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@quick
@given(
    x=hnp.arrays(np.float32, st.tuples(st.integers(2, 100), st.integers(1, 4)), elements=st.floats(-100, 100, width=16))
)
def test_invert_undoes_apply_and_variance_is_that_of_the_scaled(kind, x):
    if np.all(x.max(axis=0) == x.min(axis=0)):
        return
    scaling = Scaling.fit(kind, x)
    z = scaling.apply(x)
    span = np.abs(x).max() + 1
    assert z.dtype == np.float32 and z.shape == x.shape
    np.testing.assert_allclose(scaling.invert(z), x, atol=2e-6 * span)
    spread = np.float64(z).var(axis=0)
    assert scaling.variance == pytest.approx(spread.mean(), rel=1e-3, abs=1e-5 * max(1, float(np.abs(z).max())) ** 2)
    np.testing.assert_allclose(
        z.mean(axis=0, dtype=np.float64), scaling.mean_of_scaled, atol=1e-5 * max(1, np.abs(z).max())
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_a_scaling_survives_json_to_the_last_digit(kind, shape):
    x = np.random.default_rng(0).normal(2, 3, shape)
    scaling = Scaling.fit(kind, x)
    again = Scaling.from_json(json.loads(json.dumps(scaling.to_json())))
    assert again == scaling
    np.testing.assert_array_equal(again.apply(x), scaling.apply(x))


def test_a_dimension_that_never_changes_is_left_alone():
    x = np.stack([np.arange(5.0), np.full(5, 3.0)], axis=1)
    scaling = Scaling.fit("standardise", x)
    assert np.isfinite(scaling.apply(x)).all() and np.all(scaling.apply(x)[:, 1] == 0)


def test_scaling_refuses_what_it_cannot_scale():
    with pytest.raises(ValueError, match="unknown; use one of"):
        Scaling.fit("meen", np.arange(3.0))
    with pytest.raises(ValueError, match="no data"):
        Scaling.fit("mean", np.zeros(0))
    with pytest.raises(ValueError, match="stay at 0.5"):
        Scaling.fit("mean", np.full(9, 0.5))


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0.0},
        {"scale": -1.0},
        {"shift": float("nan")},
        {"kind": "?"},
        {"extra": 1},
        {"mean": "x"},
        {"mean": [1.0]},
        {"var": -1.0},
        {"scale": None},
        {"scale": 1e-60},
    ],
)
def test_damaged_scalings_are_refused(change):
    with pytest.raises(ValueError, match="scaling"):
        Scaling.from_json({**Scaling.fit("mean", np.arange(5.0)).to_json(), **change})
    with pytest.raises(ValueError, match="scaling"):
        Scaling.from_json([])

"""The steps of `steps`, and the optimisers' updates, as one Triton kernel each, for cards.

Compiled for and run on no card yet; Triton's interpreter runs them on the CPU (``TRITON_INTERPRET=1``), where the tests
compare them with numpy.
"""

import importlib.util

import torch

if importlib.util.find_spec("triton"):
    import triton
    import triton.language as tl
else:
    triton = None

ROWS, UNITS, INNER = 16, 16, 64  # of a tile of the product: sequences, units, and terms added at a time
SPAN = 1024  # parameters that one program of an update changes
wanted = True  # where they can serve
NONLINEARITIES = {"tanh": 0, "sigmoid": 1, "rectify": 2}


def serve(x):
    """Whether these are used for a tensor: on a card, where Triton is."""
    return triton is not None and x.is_cuda and wanted


def forward(z, hid, cell, W, w, choices, new_hid, new_cell):
    """As `steps.forward`."""
    n_batch, n = hid.shape
    grid = triton.cdiv(n, UNITS), triton.cdiv(n_batch, ROWS)
    _forward[grid](z, hid, cell, W, w, new_hid, new_cell, n_batch, n, *_constants(choices))


def backward(gates, cell_before, cell, W, w, choices, d_hid, d_cell, d_next, d_z, d_cut, d_peephole):
    """As `steps.backward`."""
    n_batch, n = cell.shape
    grid = triton.cdiv(n, UNITS), triton.cdiv(n_batch, ROWS)
    n_terms, d_next = (0, d_z) if d_next is None else (4 * n, d_next)
    given = gates, cell_before, cell, W, w, d_hid, d_cell, d_next, d_z, d_peephole
    _backward[grid](*given, n_batch, n, n_terms, *_constants(choices))
    if choices.clip:
        torch.clamp(d_z, -choices.clip, choices.clip, out=d_cut)


def update(rule, param, grad, states, numbers):
    """As `optimisers.update`, of "rmsprop" and "adam"."""
    first, second = [*states, param, param][:2]  # what a rule has not, it does not touch
    n = param.numel()
    _update[(triton.cdiv(n, SPAN),)](param, grad, first, second, *numbers, n, rule, len(states), SPAN)


def _constants(choices):
    kind = NONLINEARITIES[choices.nonlinearity]
    return choices.late, kind, "tf32" if choices.tf32 else "ieee", ROWS, UNITS, INNER


if triton:

    @triton.jit
    def _tanh(x):
        return 2 * tl.sigmoid(2 * x) - 1

    @triton.jit
    def _act(x, KIND: tl.constexpr):
        if KIND == 0:
            y = _tanh(x)
        elif KIND == 1:
            y = tl.sigmoid(x)
        else:
            y = tl.where(x < 0, 0.0, x)
        return y

    @triton.jit
    def _tile(n_batch, n, ROWS: tl.constexpr, UNITS: tl.constexpr):
        units, rows = tl.program_id(0) * UNITS + tl.arange(0, UNITS), tl.program_id(1) * ROWS + tl.arange(0, ROWS)
        mine = (rows[:, None] < n_batch) & (units[None, :] < n)
        return units, rows, mine, rows[:, None] * n + units[None, :], rows[:, None] * 4 * n + units[None, :]

    @triton.jit
    def _load_gates(at, n, mine):
        first, second = tl.load(at, mine, 0.0), tl.load(at + n, mine, 0.0)
        return first, second, tl.load(at + 2 * n, mine, 0.0), tl.load(at + 3 * n, mine, 0.0)

    @triton.jit
    def _store_gates(at, n, mine, i, f, g, o):
        tl.store(at, i, mine)
        tl.store(at + n, f, mine)
        tl.store(at + 2 * n, g, mine)
        tl.store(at + 3 * n, o, mine)

    @triton.jit
    def _forward(
        z, hid, cell, W, w, new_hid, new_cell, n_batch, n,
        LATE: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
        ROWS: tl.constexpr, UNITS: tl.constexpr, INNER: tl.constexpr,
    ):  # fmt: skip
        units, rows, mine, at, gate = _tile(n_batch, n, ROWS, UNITS)
        i, f, g, o = _load_gates(z + gate, n, mine)
        for start in range(0, n, INNER):
            k = start + tl.arange(0, INNER)
            h = tl.load(hid + rows[:, None] * n + k[None, :], (rows[:, None] < n_batch) & (k[None, :] < n), 0.0)
            here, column = (k[:, None] < n) & (units[None, :] < n), W + k[:, None] * 4 * n + units[None, :]
            W_i, W_f, W_g, W_o = _load_gates(column, n, here)
            i = tl.dot(h, W_i, i, input_precision=PRECISION)
            f = tl.dot(h, W_f, f, input_precision=PRECISION)
            g = tl.dot(h, W_g, g, input_precision=PRECISION)
            o = tl.dot(h, W_o, o, input_precision=PRECISION)
        known = units < n
        w_o = tl.load(w + 2 * n + units, known, 0.0)[None, :]
        before = tl.load(cell + at, mine, 0.0)
        i = tl.sigmoid(i + tl.load(w + units, known, 0.0)[None, :] * before)
        f = tl.sigmoid(f + tl.load(w + n + units, known, 0.0)[None, :] * before)
        g = _tanh(g)
        c = f * before + i * g
        if LATE:
            o = tl.sigmoid(o)
            factor = o + w_o * c
        else:
            o = tl.sigmoid(o + w_o * c)
            factor = o
        tl.store(new_cell + at, c, mine)
        tl.store(new_hid + at, factor * _act(c, KIND), mine)
        _store_gates(z + gate, n, mine, i, f, g, o)

    @triton.jit
    def _backward(
        gates, cell_before, cell, W, w, d_hid, d_cell, d_next, d_z, d_peephole, n_batch, n, n_terms,
        LATE: tl.constexpr, KIND: tl.constexpr, PRECISION: tl.constexpr,
        ROWS: tl.constexpr, UNITS: tl.constexpr, INNER: tl.constexpr,
    ):  # fmt: skip
        units, rows, mine, at, gate = _tile(n_batch, n, ROWS, UNITS)
        to_hid = tl.load(d_hid + at, mine, 0.0)
        for start in range(0, n_terms, INNER):
            k = start + tl.arange(0, INNER)
            here = (rows[:, None] < n_batch) & (k[None, :] < n_terms)
            d = tl.load(d_next + rows[:, None] * 4 * n + k[None, :], here, 0.0)
            here = (k[:, None] < n_terms) & (units[None, :] < n)
            W_t = tl.load(W + units[None, :] * 4 * n + k[:, None], here, 0.0)
            to_hid = tl.dot(d, W_t, to_hid, input_precision=PRECISION)
        known = units < n
        w_o = tl.load(w + 2 * n + units, known, 0.0)[None, :]
        i, f, g, o = _load_gates(gates + gate, n, mine)
        before, c = tl.load(cell_before + at, mine, 0.0), tl.load(cell + at, mine, 0.0)
        a = _act(c, KIND)
        if KIND == 0:
            slope = 1 - a * a
        elif KIND == 1:
            slope = a * (1 - a)
        else:
            slope = tl.where(c > 0, 1.0, tl.where(c < 0, 0.0, 0.5))
        d_factor = to_hid * a
        d_o = d_factor * o * (1 - o)
        if LATE:
            factor, d_peep = o + w_o * c, d_factor
        else:
            factor, d_peep = o, d_o
        d = tl.load(d_cell + at, mine, 0.0) + to_hid * factor * slope + d_peep * w_o
        d_i, d_f, d_g = d * g * i * (1 - i), d * before * f * (1 - f), d * i * (1 - g * g)
        w_i, w_f = tl.load(w + units, known, 0.0)[None, :], tl.load(w + n + units, known, 0.0)[None, :]
        tl.store(d_cell + at, d * f + d_i * w_i + d_f * w_f, mine)
        tl.store(d_peephole + at, d_peep, mine)
        _store_gates(d_z + gate, n, mine, d_i, d_f, d_g, d_o)

    @triton.jit
    def _update(
        param, grad, first, second, scale, rate, rho, epsilon, momentum, n,
        RULE: tl.constexpr, N_STATES: tl.constexpr, SPAN: tl.constexpr,
    ):  # fmt: skip
        at = tl.program_id(0) * SPAN + tl.arange(0, SPAN)
        mine = at < n
        p, g = tl.load(param + at, mine), tl.load(grad + at, mine) * tl.load(scale)
        size = tl.load(rate)
        if RULE == "adam":
            m = rho * tl.load(first + at, mine) + (1 - rho) * g
            v = momentum * tl.load(second + at, mine) + (1 - momentum) * g * g
            tl.store(first + at, m, mine)
            tl.store(second + at, v, mine)
            p = p - size * m / (tl.sqrt_rn(v) + epsilon)
        else:
            accu = rho * tl.load(first + at, mine) + (1 - rho) * g * g
            step = size * g / tl.sqrt_rn(accu + epsilon)
            tl.store(first + at, accu, mine)
            if N_STATES == 2:
                step = step - momentum * tl.load(second + at, mine)
                tl.store(second + at, -step, mine)
            p = p - step
        tl.store(param + at, p, mine)

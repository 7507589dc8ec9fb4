"""Milliseconds an update takes by PyTorch, this package's engine beside its peers and the floors: ``bench --gpu``.

One process, one after the other, in turns: on a card, which others do not share, medians are steady.
"""

import time

import numpy as np

from .. import model, recipes
from . import workers

PASSES = 7


def recipe_of(sizes, **changes):
    """The 2016 recipe of `timing.parse_shape`'s sizes."""
    units = (sizes["n_units"],) * workers.N_LAYERS
    shape = {"frame_length": sizes["n_inputs"], "n_steps": sizes["n_steps"] + 1, "n_batch": sizes["n_batch"]}
    return recipes.get("2016").replace(n_units=units, **shape, **changes)


def engine_step(engine, sizes, plain=False, **changes):
    """An update by the engine, as `training` makes it; `plain`: without kernels."""
    from ..gpu import kernels

    made = engine(recipe_of(sizes, **changes), sizes["n_inputs"])
    X = engine.tensor(workers.batch(**sizes).transpose(1, 0, 2))

    def step():
        kernels.wanted = not plain  # read when the graph is recorded
        made.train(X)
        kernels.wanted = True

    return step


def plain_step(device, n_inputs, n_units, n_steps, n_batch):
    """The network with peepholes as one writes it: operations one after the other, gradients by autograd, RMSprop."""
    import torch

    weight = lambda *shape: torch.nn.Parameter(0.1 * torch.randn(*shape, device=device))
    widths = [n_inputs] + [n_units] * (workers.N_LAYERS - 1)
    gates = 4 * n_units
    layers = [[weight(n, gates), weight(n_units, gates), weight(gates), weight(3, n_units)] for n in widths]
    last = [weight(n_units, n_inputs), weight(n_inputs)]
    optimiser = torch.optim.RMSprop([p for layer in [*layers, last] for p in layer], lr=1e-4, alpha=0.9, eps=1e-6)
    frames = torch.from_numpy(workers.batch(n_inputs, n_units, n_steps, n_batch)).to(device)

    def layer(x, W_in, W_hid, b, w):
        z, hids = x @ W_in + b, []
        hid = cell = torch.zeros(n_batch, n_units, device=device)
        for t in range(n_steps):
            i, f, g, o = (z[t] + hid @ W_hid).chunk(4, dim=1)
            cell = torch.sigmoid(f + w[1] * cell) * cell + torch.sigmoid(i + w[0] * cell) * torch.tanh(g)
            hid = torch.sigmoid(o + w[2] * cell) * torch.tanh(cell)
            hids.append(hid)
        return torch.stack(hids)

    def step():
        optimiser.zero_grad()
        hids = frames[:-1]
        for weights in layers:
            hids = layer(hids, *weights)
        torch.nn.functional.mse_loss(hids @ last[0] + last[1], frames[1:]).backward()
        optimiser.step()

    return step


def floors(device, **sizes):
    """Steps that nothing can do without: the products; and `PASSES` through memory, as products read the parameters
    twice, the gradient is written and read, the state read and written, and the parameters written."""
    import torch

    ones = lambda *shape: torch.full(shape, 0.5, device=device)
    factors = [(ones(m, k), ones(k, n)) for m, k, n, _ in workers.products(**sizes)]
    x = torch.zeros(model.expected_parameters(recipe_of(sizes)), device=device)
    y = torch.zeros_like(x)

    def products():
        for a, b in factors:
            a @ b

    def memory():
        for _ in range(PASSES // 2):  # a copy reads and writes
            y.copy_(x)
        x.sum()

    return products, memory


def bench(shape, device=None, repeats=7):
    """Seconds of each way by its name, medians and half the distance between quartiles: dict, with ``device``."""
    import torch

    from .. import gpu

    engine = gpu.chosen("torch", device)
    place = engine.device
    products, memory = floors(place, **shape)
    steps = {"engine": engine_step(engine, shape), "engine, plain operations": engine_step(engine, shape, plain=True)}
    steps["engine, no peepholes"] = engine_step(engine, shape, peepholes=False)
    steps["torch.nn.LSTM, no peepholes"] = workers.torch(device=place, **shape)
    steps |= {"plain torch": plain_step(place, **shape), "floor: products": products, "floor: memory": memory}
    if place.type == "cuda":
        steps["engine, TF32"] = engine_step(gpu.chosen("torch", "cuda", tf32=True), shape)
    taken = {name: [] for name in steps}
    for _ in range(repeats + 1):  # the first touches fresh memory, and records
        for name, step in steps.items():
            torch.backends.cuda.matmul.allow_tf32 = name.endswith("TF32")
            started = time.perf_counter()
            step()
            if place.type == "cuda":
                torch.cuda.synchronize()
            taken[name].append(time.perf_counter() - started)
    quartiles = {name: np.percentile(values[1:], [25, 50, 75]) for name, values in taken.items()}
    times = {name: {"s": float(q[1]), "spread_s": float(q[2] - q[0]) / 2} for name, q in quartiles.items()}
    return {"device": str(engine), "times": times}


def table(found):
    """`bench`'s results by shape as Markdown, as docs/performance.md keeps them."""
    lines = []
    for shape, result in found.items():
        floor = result["times"]["floor: products"]["s"]
        lines += [f"{shape} (inputs/units/steps/batch), {result['device']}", ""]
        lines += ["| | ms an update | of the products |", "|---|---|---|"]
        for name, t in result["times"].items():
            ms, spread = 1000 * t["s"], 1000 * t["spread_s"]
            lines.append(f"| {name} | {ms:.2f} ± {spread:.2f} | {t['s'] / floor:.1f} |")
    return "\n".join(lines)

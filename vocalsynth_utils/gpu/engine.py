"""`training.Trainer` of a recipe by torch: the same functions as Theano's engine gives, on a CPU or a card."""

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from .. import model, training
from ..storage import readable_size
from ..units.language import LENGTH, UNIT
from .layers import Net
from .optimisers import Optimiser
from .rows import Rows
from .store import Store, Variable

SAVED_EVERY = 20.0  # s between two checkpoints; what was trained since is trained again after an interruption
WARM_UPS = 3  # runs before a CUDA graph is recorded: libraries choose their ways and take their memory
PROGRAM = 800e6  # bytes of a card: CUDA's own, and its libraries' workspaces
FREE = "free_run"  # of `best_by`
PER_UNIT, PER_OUTPUT = 20, 6  # numbers kept for one unit and for one number of the output in one step


class Engine:
    """A way to train: call it as `training.compile_trainer`.  As text, what it is."""

    def __init__(self, device, tf32=False):
        self.device, self.tf32 = torch.device(device), tf32 and device != "cpu"
        if self.device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cuda.matmul.allow_tf32 = self.tf32
            torch.use_deterministic_algorithms(True)  # in all of this process; an operation that cannot be says so
            torch.utils.deterministic.fill_uninitialized_memory = False

    def __str__(self):
        what = "the CPU"
        if self.device.type == "cuda":
            what = f"{torch.cuda.get_device_name(self.device)}, {'TF32' if self.tf32 else 'float32'}"
        return f"torch {torch.__version__} on {what}"

    def check(self, recipe, dataset):
        """ValueError where this engine lacks a field, or a card the memory, before anything is compiled or written."""
        r = recipe
        for name, asked in ("p_teacher", r.p_teacher < 1), ("free_steps", r.free_steps), ("best_by", r.best_by == FREE):
            if asked:
                what = f"{name}={getattr(r, name)!r} is what engine='torch' lacks"
                raise ValueError(f"{what}: there the network hears itself; use engine='theano'")
        if self.device.type == "cuda" and (needed := memory_needed(recipe, dataset)) > self.free_memory():
            raise ValueError(self._full(f"needs about {readable_size(needed)} and has"))

    def free_memory(self):
        """Bytes free on the card."""
        return torch.cuda.mem_get_info(self.device)[0]

    def _full(self, what):
        return f"the card {what} {readable_size(self.free_memory())} free; use a smaller n_batch, n_steps or n_units"

    def tensor(self, values):
        """An array, or what is a tensor already, on the device."""
        return values if torch.is_tensor(values) else torch.from_numpy(np.asarray(values, np.float32)).to(self.device)

    @contextlib.contextmanager
    def said(self):
        """What a card that is full says as one line."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise ValueError(self._full("is out of memory with")) from None

    def __call__(self, recipe, n_features, scaling=None):
        with self.said():
            return _Compiled(self, recipe, n_features, scaling).trainer()


def memory_needed(recipe, dataset):
    """Bytes on a card that training takes, roughly: estimated, not measured."""
    width = dataset.n_features
    said = max(width, recipe.n_mixtures * (1 + 2 * width))
    in_step = PER_UNIT * (sum(recipe.n_units) + recipe.language_units) + PER_OUTPUT * said
    copies = 2 + 3 * (1 + 2)  # gradients twice; parameters and at most two states: now, last and best
    numbers = copies * model.expected_parameters(recipe) + recipe.n_batch * recipe.n_steps * in_step
    return int(PROGRAM + 4 * numbers + dataset.rows.nbytes)


class _Draws:
    """What one layer of noise draws: of numpy's generator, which `training` sets, as Theano's engine does."""

    def __init__(self, kind, amount, shape):
        self.kind, self.amount, self.shape = kind, np.float32(amount), shape
        self.generator = np.random.RandomState(0)

    def set_value(self, generator):
        self.generator = generator

    def draw(self):
        if self.kind == "noise":
            values = self.generator.normal(np.float32(0), self.amount, self.shape)
        else:
            values = self.generator.binomial(1, np.float32(1) - self.amount, self.shape)
        return torch.from_numpy(values.astype(np.float32))


def _noise(recipe, scaling, n_features):
    """`_Draws` of the noisy layers, in the order in which they are heard: that of `model.noise_states`."""
    frames, n_text = (recipe.n_batch, recipe.n_steps - 1, n_features), -(-recipe.n_batch // 2)
    sigma = recipe.input_noise * np.sqrt(scaling.variance if scaling else 1.0)
    noisy = *frames[:2], n_features - model.n_exact(recipe)
    asked = [("noise", sigma, noisy), ("dropout", recipe.input_dropout, frames)]
    for n in (UNIT + LENGTH, recipe.language_units):
        asked.append(("dropout", recipe.language_dropout, (n_text, recipe.n_steps - 1, n)))
    return [_Draws(*each) for each in asked if each[1]]


class _Replayed:
    """A function of tensors, recorded as a CUDA graph for each shape of its inputs; on the CPU, the function itself.

    `kept`: tensors that it changes, put back after it was tried.
    """

    def __init__(self, function, engine, *kept):
        self.function, self.engine, self.kept, self.graphs = function, engine, kept, {}

    def __call__(self, *inputs):
        with self.engine.said():
            if self.engine.device.type != "cuda":
                return self.function(*inputs)
            key = tuple(x.shape for x in inputs)
            if key not in self.graphs:
                self.graphs[key] = self._record([x.to(self.engine.device, copy=True) for x in inputs])
            graph, held, output = self.graphs[key]
            for mine, x in zip(held, inputs):
                mine.copy_(x)
            graph.replay()
            return output

    def _record(self, held):
        before, stream = [v.clone() for v in self.kept], torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self.function(*held)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.function(*held)
        for now, was in zip(self.kept, before):
            now.copy_(was)
        return graph, held, output


class _Compiled:
    """The functions of a `training.Trainer`."""

    def __init__(self, engine, recipe, n_features, scaling):
        self.engine, self.recipe, self.device = engine, recipe, engine.device
        self.network = model.build_network(recipe, n_features, scaling)
        self.store = store = Store(recipe, self.network, self.device)
        self.leaves = {name: place.of(store.vector).detach().requires_grad_() for name, place in store.blocks.items()}
        self.gradient = torch.zeros(store.n, device=self.device)
        self.gradients = [place.of(self.gradient) for place in store.blocks.values()]
        self.net = Net(recipe, self.network, self.leaves, engine.tf32)
        self.rate = torch.tensor(recipe.learning_rate, device=self.device)
        self.optimiser = Optimiser(recipe, store, self.rate)
        self.rows, self.noise = None, _noise(recipe, scaling, n_features)
        zeros = lambda n: torch.zeros(recipe.n_batch, n, device=self.device)
        self.carried = [(zeros(n), zeros(n)) for n in recipe.n_units] if recipe.stateful else None

    def trainer(self):
        store = self.store
        flat = [v for pair in self.carried or () for v in pair]
        update = _Replayed(self.update, self.engine, store.vector, *flat)
        losses = _Replayed(self.losses, self.engine)

        def train(X):
            return float(update(self.engine.tensor(X), *(draws.draw() for draws in self.noise)))

        def reset():
            for state in flat:
                state.zero_()

        return training.Trainer(
            self.network, store.parameters, store.optimiser, Variable(self.rate), train,
            valid=lambda X: losses(self.engine.tensor(X)).cpu().numpy(),
            free=None, emit=None, reset=reset, noise=self.noise, kept=store.kept,
            fed=self.fed, saving=self.saving, engine=str(self.engine),
        )  # fmt: skip

    def fed(self, dataset):
        """The dataset with its rows on the card; where batches are more than rows, the dataset."""
        if self.device.type == "cpu" or self.recipe.has_text:
            return dataset
        if self.rows is None:
            with self.engine.said():
                self.rows = Rows(dataset, self.device)
        return self.rows

    def update(self, X, *noise):
        """One update, all on the device; the loss."""
        found, finals = self.net.losses(X, self.carried, iter(noise))
        loss = sum(found)
        with torch.no_grad():
            for mine, new in zip(self.gradients, torch.autograd.grad(loss, list(self.leaves.values()))):
                mine.copy_(new)
            self.optimiser.step(self.gradient)
            for pair, final in zip(self.carried or (), finals):
                for old, new in zip(pair, final):
                    old.copy_(new)
        return loss.detach()

    @torch.no_grad()
    def losses(self, X):
        """The loss of each level of the deterministic network, a tensor (n_levels,)."""
        return torch.stack(self.net.losses(X)[0])

    @contextlib.contextmanager
    def saving(self, _, run):
        """As `training.save_at_once`, but for the time: now and then, while training goes on, and at the end."""
        saver = _Saver(self.store, run, str(self.engine))
        try:
            yield saver.epoch
        finally:
            saver.close()


class _Saver:
    """Checkpoints of a run, now and then.

    Of each epoch, and of the best one, a copy stays on the device; a thread writes what was brought home.  The log has
    each row at once: those that no checkpoint holds are dropped when the run is resumed.
    """

    def __init__(self, store, run, engine):
        self.store, self.run, self.engine = store, run, engine
        self.last = self.best = self.written = self.best_written = None
        self.at, self.pool, self.writing = 0.0, ThreadPoolExecutor(1), None

    def epoch(self, rows, is_best):
        """An epoch has ended, whose row is the last one."""
        self.last = self.store.vector.clone(), list(rows)
        self.best = self.last if is_best else self.best
        if time.monotonic() - self.at > SAVED_EVERY or self.written is None:
            self._write()
        if len(rows) == 1:
            self.writing.result()  # a log without any checkpoint could not be gone on with
        self.run.append_log(rows[-1])

    def _write(self):
        self._wait()
        new_best = self.best is not None and self.best is not self.best_written
        beside = [("best", *self._home(self.best))] if new_best and self.best is not self.last else []
        files = [*beside, ("last", *self._home(self.last))]
        self.writing = self.pool.submit(self._files, files, self.best is self.last)
        self.written, self.best_written, self.at = self.last, self.best, time.monotonic()

    def _home(self, state):
        vector, rows = state
        return self.store.arrays(vector.cpu().numpy()), rows

    def _files(self, files, last_is_best):
        for name, arrays, rows in files:
            meta = {"epoch": rows[-1]["epoch"], "valid_loss": rows[-1]["valid_loss"], "engine": self.engine}
            self.run.save(name, arrays, rows, **meta)
        if last_is_best:
            self.run.keep_as_best()

    def _wait(self):
        if self.writing:
            self.writing.result()  # with what went wrong there

    def close(self):
        """Write what is not written yet, and wait for it."""
        try:
            if self.written is not self.last:
                self._write()
            self._wait()
        finally:
            self.pool.shutdown()

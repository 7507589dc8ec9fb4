"""The losses of a recipe's network by torch: `Net`, whose expressions are those of `model`, `losses` and `units`."""

import math

import torch
from torch.nn.functional import softplus

from .. import losses, model
from ..features import LOG_F0, VOICING
from ..losses import FRAME, MIN_PITCH_SIGMA, MIN_SIGMA
from ..units import N_GIVEN, N_TEXT
from . import kernels, steps


class Recurrence(torch.autograd.Function):
    """A layer over a whole sequence: hids (n_steps, n_batch, n_units) and the last cell of x (n_steps, n_batch, n).

    Step after step there is nothing but the product with W_hid and the cell; all else is one product for all steps.
    """

    @staticmethod
    def forward(ctx, x, hid, cell, W_in, W_hid, b, w, choices):
        gates = torch.addmm(b, x.flatten(0, 1), W_in).view(*x.shape[:2], -1)
        hids, cells = (start.new_empty(len(x) + 1, *start.shape) for start in (hid, cell))
        hids[0], cells[0] = hid, cell
        step = kernels.forward if kernels.serve(x) else steps.forward
        for t in range(len(x)):
            step(gates[t], hids[t], cells[t], W_hid, w, choices, hids[t + 1], cells[t + 1])
        ctx.save_for_backward(x, W_in, W_hid, w, gates, hids, cells)
        ctx.choices = choices
        return hids[1:], cells[-1]

    @staticmethod
    def backward(ctx, d_hids, d_last_cell):
        x, W_in, W_hid, w, gates, hids, cells = ctx.saved_tensors
        choices, n_steps, n_units = ctx.choices, len(x), hids.shape[2]
        stop = max(0, n_steps - choices.steps) if choices.steps else 0
        d_z, d_cell, d_hids = torch.zeros_like(gates), d_last_cell.clone(), d_hids.contiguous()
        d_cut, d_peephole = torch.zeros_like(gates) if choices.clip else d_z, torch.zeros_like(cells[1:])
        step = kernels.backward if kernels.serve(x) else steps.backward
        for t in reversed(range(stop, n_steps)):
            d_next = d_cut[t + 1] if t + 1 < n_steps else None
            forward = gates[t], cells[t], cells[t + 1], W_hid, w, choices
            step(*forward, d_hids[t], d_cell, d_next, d_z[t], d_cut[t], d_peephole[t])
        rows, needed = d_cut.flatten(0, 1), ctx.needs_input_grad
        d_w = None
        if needed[6]:
            d_if = d_z[:, :, : 2 * n_units].unflatten(2, (2, n_units)) * cells[:-1].unsqueeze(2)
            d_w = torch.cat([d_if.sum(dim=(0, 1)).flatten(), (d_peephole * cells[1:]).sum(dim=(0, 1))])
        none = torch.zeros_like(d_cell)  # truncation never reaches the state before the first step
        return (
            (rows @ W_in.t()).view_as(x) if needed[0] else None,
            (none if stop else d_cut[0] @ W_hid.t()) if needed[1] else None,
            (none if stop else d_cell) if needed[2] else None,
            x.flatten(0, 1).t() @ rows,
            hids[:-1].flatten(0, 1).t() @ rows,
            rows.sum(dim=0),
            d_w,
            None,
        )


def _nll(out, K, min_sigma, target):
    """`losses.nll`: (n_rows,)."""
    n_rows, n_dims = target.shape
    logits, means, raw = out.split([K, K * n_dims, K * n_dims], dim=1)
    sigmas = min_sigma + softplus(raw).view(n_rows, K, n_dims)
    z = (target.unsqueeze(1) - means.view(n_rows, K, n_dims)) / sigmas
    log_density = -(0.5 * z * z + torch.log(sigmas)).sum(dim=2) - 0.5 * math.log(2 * math.pi) * n_dims
    return -torch.logsumexp(torch.log_softmax(logits, dim=1) + log_density, dim=1)


def _beta_nll(out, K, min_sigma, target, counted):
    """`losses.beta_nll`: (n_rows,)."""
    if K == 1 and out.requires_grad:
        variance = torch.square(min_sigma + softplus(out.detach()[:, 1 + target.shape[1] :]))
        weight = variance * counted.sum() / (counted * variance).sum(dim=0).clamp(min=1e-9)
        out = out.clone()
        out.register_hook(lambda d_out: d_out * torch.cat([torch.ones_like(d_out[:, :1]), weight, weight], dim=1))
    return _nll(out, K, min_sigma, target)


def _one_hot(index, n):
    """1 at each index, held as floats, 0 elsewhere: one more axis."""
    return (index.unsqueeze(-1) == torch.arange(n, device=index.device)).to(index.dtype)


class Net:
    """A recipe's network over the tensors `P`, parameters by name, those of an LSTM's gates joined as in `store`.

    `network` is the Lasagne one: of it come the kind of head and its numbers.  Batches and frames (n_batch, n_steps,
    n), hids too; states as `model.run` has them; `noise`, an iterator over what each noisy layer draws, or None.
    """

    def __init__(self, recipe, network, P, tf32=False):
        self.recipe, self.head, self.P = recipe, network.head, P
        self.n_features = network.input.shape[2] - N_GIVEN * recipe.has_text
        self.late = recipe.lstm.endswith("lasagne-0.1")
        self.choices = steps.Choices(recipe.nonlinearity, self.late, recipe.grad_clipping, recipe.gradient_steps, tf32)
        self.of_language = steps.Choices(late=self.late, tf32=tf32)

    def dense(self, name, x):
        return torch.addmm(self.P[f"{name}.b"], x, self.P[f"{name}.W"])

    def embedded(self, name, index):
        """Rows of a table; by a product, whose gradient a card adds up in the same order every time."""
        return _one_hot(index, len(self.P[name])) @ self.P[name]

    def lstm(self, name, x, state, choices):
        """A layer over x (n_batch, n_steps, n): hids, and (hid, cell) after the last step."""
        P, n_batch = self.P, len(x)
        if state is None:
            state = 2 * [x.new_zeros(n_batch, P[f"{name}.W_hid_to_"].shape[0])]  # no recipe trains it
        weights = [P[f"{name}.{block}"] for block in ("W_in_to_", "W_hid_to_", "b_")]
        w = P.get(f"{name}.W_cell_to_")
        if w is None:
            w = x.new_zeros(3 * state[0].shape[1])
        hids, cell = Recurrence.apply(x.transpose(0, 1).contiguous(), *state, *weights, w, choices)
        return hids.transpose(0, 1), (hids[-1], cell)

    def run(self, x, states=None, noise=None):
        """`model.run`."""
        recipe, finals, frames = self.recipe, [], x[:, :, : self.n_features]
        if noise and recipe.input_noise:
            exact = model.n_exact(recipe)
            frames = torch.cat([frames[:, :, :exact], frames[:, :, exact:] + next(noise)], dim=2)
        if noise and recipe.input_dropout:
            frames = frames / (1 - recipe.input_dropout) * next(noise)
        if recipe.has_text:
            given = x[:, :, self.n_features :]
            around = [self.embedded("given.W", given[:, :, k]) for k in range(3)]
            frames = torch.cat([frames, *around, given[:, :, 3:]], dim=2)
        hids = frames
        for i in range(len(recipe.n_units)):
            hids, final = self.lstm(f"lstm{i + 1}", hids, states[i] if states else None, self.choices)
            finals.append(final)
        return hids, finals

    def heard(self, X):
        """`model.Network.steps`."""
        if not self.recipe.has_text:
            return X[:, :-1], X[:, 1:]
        n, end = self.n_features, self.n_features + N_GIVEN
        return torch.cat([X[:, :-1, :n], X[:, 1:, n:end]], dim=2), X[:, 1:, :n]

    def losses(self, X, states=None, noise=None):
        """The loss of each level, a list of scalars, and the states after the last step; noise makes it training."""
        x, target = self.heard(X)
        hids, finals = self.run(x, states, noise)
        found = [self.frame_loss(hids.flatten(0, 1), x.flatten(0, 1), target.flatten(0, 1))]
        if self.recipe.has_text:
            found.append(self.language_loss(X[::2] if noise else X, noise))
        return found, finals

    def language_loss(self, X, noise):
        """`units.LanguageModel.loss`."""
        text = X[:, :, -N_TEXT:]
        following = text[:, 1:].reshape(-1, N_TEXT)
        tables = "language.embedding.W_unit", "language.embedding.W_length"
        noisy = lambda x: x / (1 - self.recipe.language_dropout) * next(noise)
        if not (noise and self.recipe.language_dropout):
            noisy = lambda x: x
        said = torch.cat([self.embedded(name, text[:, :-1, k]) for k, name in enumerate(tables)], dim=2)
        hids, _ = self.lstm("language.lstm", noisy(said), None, self.of_language)
        rows = noisy(hids).reshape(len(following), -1)
        hidden = self.dense("language.hidden", torch.cat([rows, self.embedded(tables[0], following[:, 0])], dim=1))
        logits = self.dense("language.unit", rows), self.dense("language.length", torch.relu(hidden))
        index = [_one_hot(following[:, k], each.shape[1]) for k, each in enumerate(logits)]
        return -sum((torch.log_softmax(each, dim=1) * i).sum(dim=1).mean() for each, i in zip(logits, index))

    def given(self, name, hid, voiced, pitch):
        """A mixture of `losses.WorldHead`."""
        return self.dense(name, torch.relu(self.dense(f"{name}_hidden", torch.cat([hid, voiced, pitch], dim=1))))

    def frame_loss(self, hid, current, target):
        """The head's ``loss``, of rows."""
        head = self.head
        if isinstance(head, losses.LinearHead):
            return torch.square(self.dense("output", hid) - target).mean()
        K = head.n_mixtures
        if isinstance(head, losses.MixtureHead):
            moved = target - current if head.residual else target
            return _nll(self.dense("mixture", hid), K, MIN_SIGMA, moved).mean()
        pitch, last = target[:, LOG_F0 : LOG_F0 + 1], current[:, LOG_F0 : LOG_F0 + 1]
        voiced = (target[:, VOICING : VOICING + 1] > 0).to(hid.dtype)
        logit = self.dense("voicing", hid)
        voicing_nll = softplus(logit) - voiced * logit
        pitches, sounds = (self.given(name, hid, voiced, x) for name, x in (("pitch", last), ("envelope", pitch)))
        origin = last * (current[:, VOICING : VOICING + 1] > 0)
        pitch_nll = _beta_nll(pitches, K, MIN_PITCH_SIGMA, pitch - origin, voiced)
        envelope_nll = _beta_nll(sounds, K, MIN_SIGMA, target[:, FRAME:], torch.ones_like(voiced))
        return (voicing_nll[:, 0] + voiced[:, 0] * pitch_nll + envelope_nll).mean()

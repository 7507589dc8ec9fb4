"""A sweep's table, its learning curves and its figure, all made from the runs' own files."""

import csv
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import runs, storage
from ..plots.style import BASELINES, COLOURS, CYCLE, INK, dress, legend
from ..storage import limits

SCORE = "valid_error_over_variance"
SCORES = {SCORE: "squared error / variance,\nvalid part", "survival_s": "survival (s)", "fd": "Fréchet distance"}
MEASURED = ("survival_s", "ok", "fd", "fd_codec")  # taken over from evaluate.json
CURVES = ("epoch", "train_loss", "valid_loss")
LAST = ("run", "reason")  # columns
TEXT = ("status", "baseline", *LAST)
MOST_NAMES = 8  # values on one axis, or colours, before they become numbers or grey


def row(point, folder, ended):
    """One run as a row of the table, a dict; `ended` is from `worker.outcome`.

    Errors are squared errors / variance of the best epoch, beside those of the predictors that learn nothing, of which
    ``baseline`` names the best; losses are / variance, of the last epoch and of the worst.  None where there is none.
    """
    ended = ended or {"status": "waiting"}
    result, measured = (_made(ended, folder / name) for name in ("result.json", "evaluate.json"))
    baselines, diagnosed = (storage.plain_numbers(result.get(name)) for name in ("valid_baselines", "diagnostics"))
    result, measured = storage.plain_numbers(result), storage.plain_numbers(measured)
    log, unit = _log(folder) if ended["status"] != "waiting" else ([], 1.0)
    best = min(baselines, key=baselines.get, default=None)
    total = lambda name: round(sum(r[name] for r in log), 3) if log and name in log[0] else None
    return {
        **point.swept,
        "seed": point.recipe.seed,
        "status": ended["status"],
        "epochs": len(log),
        "best_epoch": result.get("best_epoch"),
        "n_parameters": storage.plain_numbers(ended).get("n_parameters"),
        **{name: result.get(name) for name in (SCORE, "test_error_over_variance")},
        "baseline": best,
        "best_baseline": baselines.get(best),
        **{f"{name}_baseline": baselines.get(name) for name in ("mean", "repeat", "linear")},
        "last_train_loss": log[-1]["train_loss"] / unit if log else None,
        "max_train_loss": max(r["train_loss"] for r in log) / unit if log else None,
        "last_valid_loss": log[-1]["valid_loss"] / unit if log else None,
        **{name: measured.get(name) for name in MEASURED},
        "seconds": total("duration"),
        "cpu_seconds": total("cpu_seconds"),
        **diagnosed,
        "run": folder.name,
        "reason": ended.get("reason", ""),
    }


def _made(ended, path):
    """What a finished run says in a JSON file; {} where there is none."""
    try:
        return storage.read_json(path) if ended["status"] == "finished" else {}
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove its folder, and start the sweep again") from None


def n_epochs(folder):
    """Whole epochs of a run, by the lines of its log."""
    try:
        return max(0, storage.read_bytes(Path(folder) / "log.csv", limits.MOST_LOG).count(b"\n") - 1)
    except FileNotFoundError:
        return 0


def _log(folder):
    """A run's log, and what its losses are divided by for a person to read."""
    try:
        run = runs.open_run(folder)
    except ValueError:  # it never began
        return [], 1.0
    return run.log(), run.recipe.loss_unit(run.data["variance"])


def write_table(rows, path):
    """The rows as CSV, whole or not at all; an empty cell is no number."""
    with storage.atomic(path, "w") as file:
        # some have diagnostics to tell of, some have not
        names = dict.fromkeys(name for r in rows for name in r if name not in LAST)
        writer = csv.DictWriter(file, [*names, *LAST], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_curves(rows, folder, path):
    """The learning curves of a sweep's runs as CSV: ``run``, ``epoch``, and both losses / variance."""
    with storage.atomic(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("run", *CURVES))
        for name in dict.fromkeys(r["run"] for r in rows if r["status"] in ("finished", "diverged")):
            log, unit = _log(folder / "runs" / name)
            for r in log:
                writer.writerow((name, r["epoch"], *(f"{r[loss] / unit:.6g}" for loss in CURVES[1:])))


def read_table(path):
    """The rows of a sweep's table.csv: dicts, numbers as numbers (swept values stay text), None for an empty cell."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    text = {*_swept(rows), *TEXT}
    return [{k: (v if k in text else float(v) if v else None) for k, v in r.items()} for r in rows]


def read_curves(path, rows, name="case"):
    """A sweep's learning curves by setting, from its curves.csv and the rows of its table: dict of str to list of dict.

    For each value of the field `name`, and each seed, ``epoch``, ``train_loss`` and ``valid_loss`` / variance, arrays
    of shape (n_epochs,).
    """
    curves, found = {}, {}
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            curves.setdefault(line["run"], []).append([float(line[c]) for c in CURVES])
    for row in rows:
        if row["run"] in curves:
            found.setdefault(row[name], []).append(dict(zip(CURVES, np.array(curves[row["run"]]).T)))
    return found


def by_setting(rows, name="case", score=SCORE):
    """A table's numbers by setting: dict of str to list of float, the seeds that have one."""
    found = {}
    for row in rows:
        found.setdefault(row[name], []).extend([row[score]] if row[score] is not None else [])
    return found


def fields(rows):
    """Names of what is swept; not those that a case's label stands for."""
    names = _swept(rows)
    if "case" not in names:
        return names
    n_cases = len({r["case"] for r in rows})
    return ["case"] + [n for n in names[1:] if len({(r["case"], r[n]) for r in rows}) > n_cases]


def _swept(rows):
    """The columns before the seed."""
    return list(rows[0])[: list(rows[0]).index("seed")]


def settings(rows):
    """The rows grouped over seeds, best first: a list of dicts.

    Each holds the swept fields; ``runs``, ``finished``, ``diverged``, ``failed``: how many; and for each numeric column
    its mean over the finished ones, with ``..._std``, the sample standard deviation (None for one run).
    """
    names, groups = fields(rows), {}
    numeric = dict.fromkeys(c for r in rows for c in list(r)[list(r).index("seed") + 1 :] if c not in TEXT)
    for r in rows:
        groups.setdefault(tuple(r[n] for n in names), []).append(r)
    found = []
    for values, group in groups.items():
        finished = [r for r in group if r["status"] == "finished"]
        one = {**dict(zip(names, values)), "runs": len(group)}
        one.update({s: sum(r["status"] == s for r in group) for s in ("finished", "diverged", "failed")})
        one["baseline"] = finished[0]["baseline"] if finished else None
        for column in numeric:
            numbers = [r[column] for r in finished if r.get(column) is not None]
            one[column] = float(np.mean(numbers)) if numbers else None
            one[f"{column}_std"] = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
        found.append(one)
    return sorted(found, key=lambda s: math.inf if s.get(SCORE) is None else s[SCORE])


def summary(rows):
    """The table as text: a line for each setting, mean +- standard deviation over seeds, best first."""
    found, names = settings(rows), fields(rows)
    columns = (SCORE, "best_baseline", *MEASURED, "epochs", "seconds", "cpu_seconds")
    shown = [c for c in columns if any(s.get(c) is not None for s in found)]
    titles = {SCORE: "error / variance", "best_baseline": "best baseline"}
    lines = [[*names, "runs", *(titles.get(c, c) for c in shown), ""]]
    for s in found:
        rest = ", ".join(f"{s[what]} {what}" for what in ("diverged", "failed") if s[what])
        cells = [str(s[n] or "") for n in names] + [f"{s['finished']}/{s['runs']}", *(_cell(s, c) for c in shown), rest]
        lines.append(cells)
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)


def _cell(setting, column):
    """One number of a setting as text."""
    mean, std = setting[column], setting[f"{column}_std"]
    if mean is None:
        return "-"
    if column == "best_baseline":
        return f"{mean:.4g} {setting['baseline']}"
    return f"{mean:.4g}" + (f" +- {std:.2g}" if std is not None and column != "epochs" else "")


def figure(rows):
    """Scores against each swept field: mean over seeds with its standard deviation, beside the best baseline.

    A row of panels for each score there is, a panel for each swept field; settings that differ in this field alone are
    joined.  ValueError when no row has finished.
    """
    # a dollar sign is one, and no beginning of a formula
    rows = [{name: v.replace("$", r"\$") if isinstance(v, str) else v for name, v in r.items()} for r in rows]
    found, names = settings(rows), fields(rows)
    scores = [s for s in SCORES if any(setting[s] is not None for setting in found)]
    if not scores:
        raise ValueError("no run of the sweep has finished; there is nothing to draw yet")
    drawn = Figure(figsize=(max(6, 4.4 * len(names)), 0.5 + 3.1 * len(scores)), layout="constrained")
    axes = drawn.subplots(len(scores), len(names), squeeze=False, sharey="row")
    for line, score in zip(axes, scores):
        for ax, name in zip(line, names):
            _panel(ax, rows, found, names, name, score)
            dress(ax, name, SCORES[score] if ax is line[0] else None)
            if score == scores[0]:
                others = ", ".join(n for n in names if n != name) if len(ax.containers) > 1 else None
                where = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3}
                legend(ax, fontsize=8, title_fontsize=8, title=others, **where)
        _limit(line, found, score)
    return drawn


def _panel(ax, rows, found, names, name, score):
    """One score against one field; settings that agree in all others have one colour, where there are few of these."""
    others = [n for n in names if n != name]
    values = list(dict.fromkeys(r[name] for r in rows))
    hues = list(dict.fromkeys(tuple(r[n] for n in others) for r in rows))
    at = _positions(ax, values)
    few = len(hues) <= MOST_NAMES
    together = [[s for s in found if tuple(s[n] for n in others) == hue] for hue in hues] if few else [found]
    joined = few and len(values) <= MOST_NAMES and (name == "n_units" or None not in map(_number, values))
    style = {"fmt": "o-" if joined else "o", "markersize": 4.5, "linewidth": 1.3, "elinewidth": 1.3, "capsize": 3}
    lost = []
    for i, same in enumerate(together):
        shift = 0.1 * (i - (len(together) - 1) / 2) if len(values) <= MOST_NAMES else 0
        done = sorted((s for s in same if s[score] is not None), key=lambda s: at[s[name]])
        spread = [math.nan if s[f"{score}_std"] is None else s[f"{score}_std"] for s in done]
        x, y = [at[s[name]] + shift for s in done], [s[score] for s in done]
        label = ", ".join(hues[i]) if few and len(hues) > 1 else None
        ax.errorbar(x, y, spread, color=CYCLE[(i + 2) % len(CYCLE)], label=label, **style)
        lost += [at[s[name]] + shift for s in same if s["diverged"] and not s["finished"]]
    if lost:
        cross = {"color": COLOURS["valid"], "markersize": 7, "markeredgewidth": 2, "label": "diverged"}
        ax.plot(lost, [0.97] * len(lost), "x", transform=ax.get_xaxis_transform(), **cross)
    if score == SCORE:
        _baselines(ax, found, name, at)


def _baselines(ax, found, name, at):
    """The best baseline at each value: dashes, joined where there is one for each value."""
    levels = sorted({(at[s[name]], s["best_baseline"]) for s in found if s["best_baseline"] is not None})
    named = sorted({s["baseline"] for s in found if s["baseline"]})
    single = len({x for x, _ in levels}) == len(levels)
    size = 14 if len(at) <= MOST_NAMES else 0 if single else 5
    style = {"linestyle": "--" if single else "", "linewidth": 1.1, "marker": "_", "markersize": size, "zorder": 1}
    colour = BASELINES[named[0]] if len(named) == 1 else INK
    ax.plot(*zip(*levels), color=colour, label=f"best baseline ({', '.join(named)})", **style)


def _positions(ax, values):
    """Where each value stands on the axis: numbers where they are many, else one place after the other."""
    numbers = [_number(v) for v in values]
    if len(values) > MOST_NAMES and None not in numbers:
        if min(numbers) > 0 and max(numbers) / min(numbers) > 30:
            ax.set_xscale("log")
        else:
            ax.xaxis.set_major_locator(MaxNLocator(6))
        return dict(zip(values, numbers))
    if None not in numbers:
        values = [v for _, v in sorted(zip(numbers, values))]
    long = sum(len(str(v)) for v in values) > 36
    ax.set_xticks(range(len(values)), values, rotation=25 if long else 0, ha="right" if long else "center")
    ax.set_xlim(-0.6, len(values) - 0.4)
    return {v: i for i, v in enumerate(values)}


def _limit(line, found, score):
    """Vertical limits that one bad run does not spoil: what lies beyond is drawn as an arrow at the edge."""
    ends = [s[score] + sign * (s[f"{score}_std"] or 0) for s in found if s[score] is not None for sign in (-1, 1)]
    baselines = [s["best_baseline"] for s in found if s["best_baseline"] is not None] if score == SCORE else []
    top = min(max(ends), 2.5 * float(np.median(ends + baselines))) if min(ends) >= 0 else max(ends)
    low, top = min(ends + baselines), max([top, *baselines])
    room = 0.08 * (top - low) or 0.05 * abs(top) or 1
    top += room
    line[0].set_ylim(0 if 0 <= low < 0.4 * top or score == "survival_s" else low - room, top)
    for ax in line:
        for container in list(ax.containers):
            x, y = container[0].get_data()
            beyond = [xi for xi, yi in zip(x, y) if yi > top]
            if beyond:
                arrow = {"color": container[0].get_color(), "clip_on": False, "transform": ax.get_xaxis_transform()}
                ax.plot(beyond, [0.98] * len(beyond), "^", **arrow)


def _number(text):
    """A swept value as a number, or None."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None

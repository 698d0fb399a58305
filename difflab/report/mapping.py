"""What shows the mapping itself: the graphical model with its bits, and the record of task=mapping -> what the page draws."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..bound.ledger import Ledger, of_chain
from ..mapping import record
from .curves import upto
from .numbers import short
from .reader import Reader

GROUPS = 8  # of transitions in the graphical model
NOISE = -7.0  # log SNR below which all transitions are one group
GAP = 1  # white pixels between pictures of a column
FEW_POINTS, FEW_PATHS = 150, 40  # of clouds and trajectories on a page of many runs

Arrays = Mapping[str, np.ndarray]


def graph(ledger: Ledger, terms: Arrays | None) -> dict[str, Any]:
    """x_T -> ... -> x_0 with the contribution of each group of transitions, in three ways to choose the groups.

    A group holds the terms t = first..last, the arrow from x_last to x_(first - 1). prior + decoder + groups + space = total, the
    ledger's, whatever the groups: full digits here. `terms`: the per-example file, for standard errors of the sums.
    """
    column = ledger.columns
    values = np.nan_to_num(column[ledger.unit.key])
    body, prior = of_chain(column["term"]), math.fsum(values[column["term"] == "prior_kl"])
    space = math.fsum(values[~body & (column["term"] != "prior_kl")])
    order = np.argsort(column["t"][body], kind="stable")
    values, log_snr = values[body][order], column["log_snr_t"][body][order]
    total = math.fsum([prior, *values, space])
    T = len(values)

    def groups(ends: np.ndarray) -> list[dict[str, Any]]:
        se = [None] * (len(ends) - 1)
        if terms is not None and len(terms["index"]) > 1:
            each = np.diff(upto(terms, ends), axis=1) / (int(terms["dims"]) * ledger.unit.nats)
            se = short(each.std(axis=0, ddof=1) / math.sqrt(len(each)))
        return [
            {"first": int(a) + 1, "last": int(b), "value": math.fsum(values[a:b]), "se": error, "log_snr": short([log_snr[b - 1]])[0]}
            for a, b, error in zip(ends[:-1], ends[1:], se)
        ]  # fmt: skip

    return {
        "T": T, "total": total, "prior": prior, "space": space, "decoder": float(values[0]), "log_snr_1": short(log_snr[:1])[0],
        "dims": int(terms["dims"]) if terms is not None else None,
        "groups": {name: groups(ends) for name, ends in borders(T, log_snr).items()},
    }  # fmt: skip


def borders(T: int, log_snr: np.ndarray) -> dict[str, np.ndarray]:
    """{how: ends of the groups of t, from 1 to T}; log_snr [T] of t = 1..T."""
    count = min(GROUPS, T - 1) + 1
    finite = log_snr[np.isfinite(log_snr)]
    wanted = np.linspace(finite[0], min(finite[0], max(finite[-1], NOISE)), count)
    by_snr = np.searchsorted(-finite, -wanted) + 1
    ways = {
        "log_snr": np.append(by_snr[:-1], T),
        "t": np.linspace(1, T, count).round(),
        "log_t": np.geomspace(1, T, count).round(),
    }
    return {name: np.unique(np.clip(ends, 1, T).astype(int)) for name, ends in ways.items()}


def mapping(reader: Reader, ledger: Ledger | None, budget: int, few: bool) -> dict[str, Any] | None:
    """The newest record in the run's mapping/, its pictures (of at most `budget` bytes) as data URIs."""
    path = record.newest(reader.directory)
    if path is None:
        return None
    return reader.read(f"{record.FOLDER}/{path.name}", lambda path: _drawn(path, ledger, budget, few))


def _drawn(path: Path, ledger: Ledger | None, budget: int, few: bool) -> dict[str, Any]:
    arrays, about = record.load(path)
    t = arrays["t"]
    drawn = {
        "step": int(about["step"]), "sampler": str(about["sampler"]["name"]), "steps": int(about["steps"]), "T": int(about["T"]),
        "examples": int(about["examples"]), "shape": [int(n) for n in about["shape"]],
        "t": [0, *t.tolist()], "log_snr": [None, *short(arrays["log_snr"])], "left": _left(ledger, t),
    }  # fmt: skip
    if about["sampler"].get("eta") is not None:
        drawn["eta"] = float(about["sampler"]["eta"])
    if len(drawn["shape"]) == 3:
        return drawn | {"strips": _strips(arrays, budget), "spectrum": _spectrum(arrays) if "power" in arrays else None}
    points, paths = (FEW_POINTS, FEW_PATHS) if few else (None, None)
    clouds = {name: [_points(x[:points]) for x in arrays[name]] for name in ("forward", "reverse", "x0_hat")}
    lines = {
        name: [_points(x) for x in arrays[f"{name}_path"][:, :paths].swapaxes(0, 1)] for name in ("forward", "reverse")
    }
    return drawn | {"clouds": clouds, "paths": lines | {"t": arrays["path_t"].tolist()}}


def _left(ledger: Ledger | None, t: np.ndarray) -> list[float | None]:
    """What is still to be paid by who knows x_t: L_0 + sum of L_(u-1) over u <= t, in the unit, and at t = 0 nothing but what
    lies between z and the data, where the chain runs in another space."""
    if ledger is None or int(ledger.columns["t"].max()) < int(t[-1]):
        return [None] * (len(t) + 1)
    column = ledger.columns
    body, values = of_chain(column["term"]), np.nan_to_num(column[ledger.unit.key])
    order = np.argsort(column["t"][body], kind="stable")
    sums = np.append(0.0, np.cumsum(values[body][order])) + values[~body & (column["term"] != "prior_kl")].sum()
    return short(sums[np.append(0, t)])


def _strips(arrays: Arrays, budget: int) -> dict[str, Any]:
    """For each level one picture, its examples one under the other; as many examples as fit into the budget."""
    names = ("forward", "reverse", "x0_hat")
    rows = min(len(arrays[name][0]) for name in names)
    while True:
        strips = {name: [_column(x[:rows]) for x in arrays[name]] for name in names}
        size = sum(len(uri) for uris in strips.values() for uri in uris)
        if size <= budget or rows == 1:
            return strips | {"rows": rows}
        rows = max(1, min(rows - 1, rows * budget // size))


def _column(pictures: np.ndarray) -> str:
    """uint8 [N, C, H, W] as one PNG, as a data URI."""
    import matplotlib.image

    n, channels, height, width = pictures.shape
    stack = np.zeros((n * (height + GAP) - GAP, width, 4), np.uint8)  # the gaps are transparent
    for k, picture in enumerate(pictures):
        place = stack[k * (height + GAP) : k * (height + GAP) + height]
        place[..., :3] = np.repeat(picture, 3 // channels, axis=0).transpose(1, 2, 0)
        place[..., 3] = 255
    file, bare = io.BytesIO(), dict[str, Any](Software=None)
    matplotlib.image.imsave(file, stack, format="png", metadata=bare)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _points(x: np.ndarray) -> list[list[float | None]]:
    """[N, 1 or 2] as pairs of three decimals; one coordinate alone is spread over the other."""
    x = np.asarray(x, dtype=float)
    if x.shape[1] == 1:
        x = np.concatenate([x, np.linspace(-1, 1, len(x))[:, None]], axis=1)
    return [[round(v, 3) if math.isfinite(v) else None for v in point] for point in x.tolist()]


def _spectrum(arrays: Arrays) -> dict[str, Any]:
    """The powers as they are (`raw`) and about the mean picture (`centred`)."""
    one, many = ("power", "power_se", "drowned_t", "drowned_log_snr"), ("noised_power", "noised_power_se")

    def powers(prefix: str) -> dict[str, Any]:
        rows = {name: [short(row) for row in arrays[prefix + name]] for name in many}
        return {name: short(arrays[prefix + name]) for name in one} | rows

    chain = {"t": arrays["chain_t"].tolist(), "log_snr": short(arrays["chain_log_snr"])}
    coefficients = arrays["coefficients"].tolist()
    return chain | {"coefficients": coefficients, "raw": powers(""), "centred": powers("centred_")}

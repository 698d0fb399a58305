"""What the bound costs as the chain, the data, the pictures and the batch grow: time is to be linear in the work, memory
flat in T and N. Each setting is measured in a process of its own, because peak memory is a process's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .lineup import Entry, small
from .pool import Failed, Say, alone
from .work import Length

BASE = {"T": 64, "N": 4, "size": 32, "batch": 64}
WORK = {"T": "T", "N": "N", "size": "pixels", "batch": ""}  # what the time should be proportional to
LABELS = {"T": "steps T", "N": "examples N", "size": "side of the picture", "batch": "batch"}
ENTRY: Entry = small(name="scaling")


def cost(device: Any, T: int, N: int, size: int, batch: int) -> dict[str, Any]:
    """Every term of N examples (the exhaustive design) by unet_small: seconds, network evaluations, peak memory in GB
    (of the process, torch and all, or of the GPU). Runs in a worker."""
    from ..assemble import assemble
    from ..bound.estimator import evaluate
    from ..bound.exhaustive import Exhaustive
    from ..train.trainer import memory_gb
    from .contender.ours import composed
    from .machine import synchronize

    config = composed(["model=unet_small", f"schedule.T={T}", "tracker=none", "precision.evaluate=auto"])
    config["data"] = {"name": "difflab.bench.pictures", "shape": [3, size, size], "count": max(N, 2)}
    lab = assemble(config | {"device": str(device)})
    lab.model.eval()
    diffusion, examples = lab.computing(lab.diffusion, "evaluate"), lab.examples(lab.data.test)

    def run(count: int, draws: int) -> int:
        design = Exhaustive(examples=count, draws=draws, target_se=None, clip_x0=False, seed=0, batch_size=batch)
        return evaluate(diffusion, examples, design, device).nfe

    run(1, -(-batch // T))  # a whole batch, to warm up
    synchronize(device)
    started = time.perf_counter()
    nfe = run(N, 1)
    synchronize(device)
    return {"seconds": time.perf_counter() - started, "nfe": nfe, "memory_gb": memory_gb(device)}


def sweep(length: Length, say: Say) -> dict[str, list[dict[str, Any]]]:
    """{quantity: [{value, seconds, nfe, memory_gb} or {value, error}]}, all else as in BASE."""
    result: dict[str, list[dict[str, Any]]] = {}
    for name, values in length.sweeps.items():
        result[name] = []
        for value in values:
            say(f"cost of the bound: {name} = {value}")
            try:
                answer = alone(ENTRY, "cost", **BASE | {name: value})
                row = {key: answer[key] for key in ("seconds", "nfe", "memory_gb")}
            except Failed as failed:
                row = {"error": str(failed)}
            result[name].append({"value": value, **row})
    return result


def growth(name: str, rows: list[dict[str, Any]]) -> tuple[float, float]:
    """(time, memory) at the largest value of a sweep over what they would be if time were proportional to the work and
    memory constant: 1 is what is hoped for. NaN if fewer than two settings were measured."""
    done = [row for row in rows if "error" not in row]
    if len(done) < 2:
        return float("nan"), float("nan")
    first, last = done[0], done[-1]
    pixels = (last["value"] / first["value"]) ** 2 if name == "size" else 1.0
    work = last["nfe"] / first["nfe"] * pixels
    return last["seconds"] / first["seconds"] / work, last["memory_gb"] / first["memory_gb"]


def draw(sweeps: dict[str, list[dict[str, Any]]], path: Path) -> Path:
    """Time (above, with the line of proportional work) and peak memory (below) for each sweep, one column each."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator

    from ..figure.canvas import MEAN, TOTAL, canvas, head

    drawn = {name: [row for row in rows if "error" not in row] for name, rows in sweeps.items()}
    drawn = {name: rows for name, rows in drawn.items() if rows}
    with canvas(path, 3.6 * max(len(drawn), 1), 5.6) as figure:
        grid = figure.subplots(2, max(len(drawn), 1), squeeze=False)
        for (name, rows), (above, below) in zip(drawn.items(), grid.T, strict=True):
            x, seconds = [row["value"] for row in rows], [row["seconds"] for row in rows]
            work = [row["nfe"] * (row["value"] ** 2 if name == "size" else 1) for row in rows]
            above.loglog(x, seconds, "o-", color=TOTAL, label="measured")
            line = [seconds[0] * w / work[0] for w in work]
            above.loglog(x, line, ":", color="#444444", label="in proportion to the work")
            above.set_ylim(min(seconds + line) / 1.5, max(seconds + line) * 1.5)  # or a flat line looks like a fall
            above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            above.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            below.semilogx(x, [row["memory_gb"] for row in rows], "s-", color=MEAN)
            below.set_ylim(0, 1.2 * max(row["memory_gb"] for row in rows))
            for axes in (above, below):
                axes.set_xticks(x, [str(value) for value in x])
                axes.minorticks_off()
            below.set_xlabel(LABELS[name])
            fixed = ", ".join(f"{key} {value}" for key, value in BASE.items() if key != name)
            head(above, f"against {LABELS[name]}", fixed)
        grid[0][0].set_ylabel("seconds of the full bound")
        grid[1][0].set_ylabel("peak memory, GB")
        if drawn:
            grid[0][0].legend()
    return path

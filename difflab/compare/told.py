"""Effects for people: which choice moves which term of the bound, in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..card.blocks import Block, Bullets, Heading, Table, Text
from .effects import Contrast, Effects, View
from .measurement import Measurement
from .parts import Part, band_times
from .words import between, number, signed

NEGLIGIBLE = 0.01  # of the bound's spread: a part that varies less is told in passing
PAIRS = 3  # interactions whose cells are listed; the CSV has all
CHAINS = 6  # whose t are listed


def blocks(found: Effects, runs: Sequence[Measurement], chains: Mapping[str, Measurement]) -> list[Block]:
    """The section of comparison.md: the first view in full and, where that leaves cells out, all cells on a log scale."""
    said, told = lead(found, runs), views(found, runs, chains)
    first = next(iter(told), None)
    for view in found.views:
        if view.name == first or (found.left_out and view.log):
            said += [Heading(view.name[0].upper() + view.name[1:], 3)] if found.left_out else []
            said += told[view.name]
    return said


def lead(found: Effects, runs: Sequence[Measurement]) -> list[Block]:
    """What holds for all views, and what cannot be said; nothing where nothing was varied."""
    if not found.factors or not runs:
        return []
    nothing = "No factor has two levels among the runs that were measured, so there are no effects to tell."
    return [Text(method(found))] if found.views else [*map(Text, found.notes), Text(nothing)]


def views(found: Effects, runs: Sequence[Measurement], chains: Mapping[str, Measurement]) -> dict[str, list[Block]]:
    """{view: its blocks}."""
    told = {view.name: of_view(view, runs, chains, found.edges) for view in found.views}
    if told:
        first = [Text(left_out(found))] if found.left_out else []
        told[found.views[0].name][:0] = [*first, *map(Text, found.notes)]
    return told


def method(found: Effects) -> str:
    view = found.views[0]
    text = (
        f"Least squares over the {len(view.names)} cells that exist, each the mean of its trainings and of equal weight; effects add up to 0 over a "
        f"factor's levels. In brackets the 95% interval over examples, paired, of these very networks; `seeds` is half the 95% interval over "
        f"trainings{'' if np.isfinite(view.trainings).any() else ', unknown here (one seed each)'}: neither holds the other, and neither is corrected for the "
        f"number of effects. Shares are of the variation between cells (sums of squares, type II), part by part; `spread` is its size, a standard deviation."
    )
    if view.borrowed:
        text += f" {view.borrowed} cell{'s' * (view.borrowed > 1)} of one training {'are' if view.borrowed > 1 else 'is'} taken to scatter from seed to seed as the others do."
    return text


def left_out(found: Effects) -> str:
    return (
        f"Left out: {len(found.left_out)} cell{'s' * (len(found.left_out) > 1)} whose bound is above {found.limit:.4g}, worse than all sanity floors and far above "
        f"the best, because beside {'them' if len(found.left_out) > 1 else 'it'} nothing else would show: {'; '.join(found.left_out)}."
    )


def of_view(
    view: View, runs: Sequence[Measurement], chains: Mapping[str, Measurement], edges: np.ndarray
) -> list[Block]:
    """Sentences, shares, differences, where on the chain, interactions."""
    said: list[Block] = [Bullets(sentences(view, runs[0].unit.label, chains, edges))]
    if len(view.factors) > 1 or np.isfinite(view.trainings).any():
        said.append(shares(view, runs[0].unit.label))
    said += differences(view)
    said += along(view, chains, edges)
    return said + interactions(view)


def sentences(view: View, unit: str, chains: Mapping[str, Measurement], edges: np.ndarray) -> list[str]:
    """The largest movers of the bound, of each end of the chain, and where the differences lie."""
    if len(view.factors) == 1:
        alone = f"{view.factors[0].name} alone was varied, so what varies between cells is its doing or chance."
        return [alone, *_places(view, chains, edges)]
    told = [_movers(view, name, unit) for name in ("bound", "prior_kl", "decoder_nll")]
    return [*filter(None, [*told, _stretches(view, chains, edges)]), *_places(view, chains, edges)]


def _movers(view: View, name: str, unit: str) -> str | None:
    p, whole = view.place(name), view.place("bound")
    if p is None:
        return None
    label = view.parts[p].label
    known = sorted((m for m in view.movements if m.df and m.share[p] >= 0.005), key=lambda m: -m.share[p])
    if not known:
        return f"{label}: nothing that was varied moves it."
    first, *others = [
        f"{m.name} moves {m.share[p]:.0%}" if i == 0 else f"{m.name} {m.share[p]:.0%}" for i, m in enumerate(known[:4])
    ]
    text = f"{label}: {first} of its variation between cells" + "".join(f", {other}" for other in others)
    if view.shared[p] >= 0.005:
        text += f"; {view.shared[p]:.0%} they explain alike, because the grid has holes and does not separate them"
    if view.trainings[p] >= 0.05:
        text += f"; the spread of trainings alone would make {min(float(view.trainings[p]), 1.0):.0%}"
    if not view.log and whole is not None and p != whole and view.spread[p] < NEGLIGIBLE * view.spread[whole]:
        text += f" (but it hardly varies: a standard deviation of {number(float(view.spread[p]))} {unit}, the bound {number(float(view.spread[whole]))})"
    return text + "."


def _stretches(view: View, chains: Mapping[str, Measurement], edges: np.ndarray) -> str | None:
    """Along the chain, what moves most where; bands that hardly vary are left out."""
    whole, found = view.place("bound"), list[tuple[str, list[Part]]]()
    times = _times_of(view, chains, edges)
    for p, part in enumerate(view.parts):
        known = [m for m in view.movements if m.df and m.share[p] >= 0.005]
        varies = view.log or whole is None or view.spread[p] >= NEGLIGIBLE * view.spread[whole]
        if not (part.band and known and varies):
            continue
        first = max(known, key=lambda m: m.share[p]).name
        if found and found[-1][0] == first:
            found[-1][1].append(part)
        else:
            found.append((first, [part]))
    if not found:
        return None
    told = [f"{name} at {_from_to(own)}{_t(_joined([times.get(part.name) for part in own]))}" for name, own in found]
    return f"Along the chain, from clean to noise, what moves most is {', then '.join(told)}."


def _from_to(own: Sequence[Part]) -> str:
    first, last = own[0].label, own[-1].label
    return first if len(own) == 1 else f"{first} .. {last.removeprefix('log SNR ')}"


def _joined(spans: Sequence[tuple[int, int] | None]) -> tuple[int, int] | None:
    known = [span for span in spans if span]
    return (known[0][0], known[-1][1]) if known else None


def _times_of(view: View, chains: Mapping[str, Measurement], edges: np.ndarray) -> dict[str, tuple[int, int] | None]:
    """The t of each band, where all runs have one chain."""
    names = [part.name for part in view.parts if part.band]
    return dict(zip(names, band_times(next(iter(chains.values())).log_snr, edges))) if len(chains) == 1 else {}


def _places(view: View, chains: Mapping[str, Measurement], edges: np.ndarray) -> list[str]:
    """Of each factor's largest difference, the parts that make most of it: they add up to it exactly."""
    told, times = [], _times_of(view, chains, edges)
    if view.log:
        return told
    for factor in view.factors:
        known = [c for c in view.of("difference", factor.name) if c.estimable]
        if not known:
            continue
        c = max(known, key=lambda c: c.value[0])
        found = sorted(
            ((float(c.value[p]), part) for p, part in enumerate(view.parts) if _adds(part)), key=lambda x: -abs(x[0])
        )
        made = [
            f"{signed(x)} at {part.label}{_t(times.get(part.name))}" if part.band else f"{signed(x)} in {part.label}"
            for x, part in found[:3]
            if x
        ]
        if made:
            told.append(
                f"{factor.name}={c.level} costs {signed(float(c.value[0]))} more than {c.versus}: {', '.join(made)}."
            )
    return told  # fmt: skip


def _adds(part: Part) -> bool:
    """Whether it is one of the parts that add up to the bound."""
    return part.band or part.name in ("prior_kl", "decoder_nll") or part.name.startswith("space_")


def _t(times: tuple[int, int] | None) -> str:
    return "" if times is None else f" (t = {_span(times)})"


def _span(times: tuple[int, int]) -> str:
    return f"{times[0]:,}" if times[0] == times[1] else f"{times[0]:,} to {times[1]:,}"


def shares(view: View, unit: str) -> Table:
    """Rows: parts; columns: what moves them."""
    extra = [("shared", view.shared), ("rest", view.rest)]
    extra = [(name, share) for name, share in extra if (share >= 0.005).any()]
    if np.isfinite(view.trainings).any():
        extra.append(("trainings alone", view.trainings))
    scale = "ln" if view.log else unit
    head = [
        "part",
        f"spread ({scale})",
        *(m.name for m in view.movements if m.df),
        *(name for name, _ in extra),
    ]
    columns = [*(m.share for m in view.movements if m.df), *(share for _, share in extra)]
    rows = [
        [part.label, number(float(view.spread[p])), *(_percent(float(column[p])) for column in columns)]
        for p, part in enumerate(view.parts)
    ]  # fmt: skip
    return Table(head, rows)


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{share:.0%}" if share >= 0.005 or share == 0 else "under 1%"


def differences(view: View) -> list[Block]:
    """Marginal means and their differences to each factor's best level."""
    parts = [(p, part) for p, part in enumerate(view.parts) if not part.band]
    rows = []
    for factor in view.factors:
        means = {c.level: c for c in view.of("mean", factor.name)}
        other = {c.level: c for c in view.of("difference", factor.name)}
        for level in sorted(means, key=lambda level: (level in other, *_first(means[level]))):
            mean = means[level]
            start = [factor.name, level, _mean(mean, view)]
            if not mean.estimable:
                rows.append([*start[:2], "not to be had from these cells", *[""] * len(parts)])
            elif level in other:
                rows.append([*start, *(figure(other[level], p, view.log) for p, _ in parts)])
            else:
                rows.append([*start, "best", *[""] * (len(parts) - 1)])
    what = "Ratios" if view.log else "Differences"
    return [
        Text(f"{what} of marginal means (over the levels of all other factors) to each factor's best level:"),
        Table(
            ["factor", "level", "geometric mean" if view.log else "marginal mean", *(part.label for _, part in parts)],
            rows,
            names=2,
        ),
    ]


def _first(c: Contrast) -> tuple[float, ...]:
    return (float(c.value[0]) if c.estimable else math.inf,)


def _mean(c: Contrast, view: View) -> str:
    if not c.estimable:
        return ""
    return f"{math.exp(c.value[0]):.4f}" if view.log else f"{c.value[0]:.4f}"


def figure(c: Contrast, p: int, log: bool) -> str:
    """A contrast with its interval over examples and, where it is known, half of that over trainings."""
    mean, half, seeds = float(c.value[p]), float(c.paired_half[p]), float(c.seeds_half[p])
    if math.isnan(mean):
        return "unknown"
    if log:
        over = "" if math.isnan(seeds) else f", seeds {_times(mean - seeds)} to {_times(mean + seeds)}"
        within = "" if math.isnan(half) else f" [{_times(mean - half)}, {_times(mean + half)}]"
        return _times(mean) + within + over
    return between(mean, mean - half, mean + half) + ("" if math.isnan(seeds) else f", seeds ± {number(seeds)}")


def _times(logarithm: float) -> str:
    return f"x{math.exp(logarithm):.3g}" if logarithm < 700 else "x inf"


def along(view: View, chains: Mapping[str, Measurement], edges: np.ndarray) -> list[Block]:
    """The same differences by band of log SNR, and which t of which chain those are."""
    parts = [(p, part) for p, part in enumerate(view.parts) if part.band]
    if not parts:
        return []
    rows = []
    for name, run in list(chains.items())[:CHAINS]:
        times = dict(zip([part.name for part in view.parts if part.band], band_times(run.log_snr, edges)))
        spans = (times.get(part.name) for _, part in parts)
        rows.append(["t of", name, *("" if span is None else _span(span) for span in spans)])
    for c in (c for factor in view.factors for c in view.of("difference", factor.name) if c.estimable):
        cells = [_short(c, p, view.log) for p, _ in parts]
        rows.append([c.factor, f"{c.level} - {c.versus}" if not view.log else f"{c.level} / {c.versus}", *cells])
    return [
        Text("The transitions' part of that over log SNR, where chains of any T and schedule compare (L_0 aside; ± is half the interval over examples):"),
        Table(["", "", *(part.label for _, part in parts)], rows, names=2),
    ]  # fmt: skip


def _short(c: Contrast, p: int, log: bool) -> str:
    mean, half = float(c.value[p]), float(c.paired_half[p])
    if log:
        return figure(c, p, log).partition(",")[0] if math.isnan(half) else _times(mean)
    return signed(mean) + ("" if math.isnan(half) else f" ± {number(half)}")


def interactions(view: View) -> list[Block]:
    """What pairs of levels add to what each does alone, of the interactions that move the bound most."""
    known = [m for m in view.movements if " x " in m.name and m.df and m.share[0] >= 0.005]
    said: list[Block] = []
    parts = [(p, part) for p, part in enumerate(view.parts) if not part.band]
    for m in sorted(known, key=lambda m: -m.share[0])[:PAIRS]:
        rows = [[c.level, *(figure(c, p, view.log) for p, _ in parts)] for c in view.of("interaction", m.name)]
        said.append(Text(f"{m.name}: what two levels together add to what each does alone:"))
        said.append(Table(["levels", *(part.label for _, part in parts)], rows))
    return said

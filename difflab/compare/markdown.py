"""The comparison for people: the ranking, where the difference lies, how sure it is, and what would settle the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..card.blocks import Block, markdown
from ..gaussian import Unit
from .paired import SUMS, Paired
from .ranking import Entry, Settle, space_terms
from .seeds import Group, Versus, versus
from .sources import Sources
from .student import ALPHA, against_the_best, pairs_of
from .words import cell, error, interval, number, rounded, sentence, signed, value


def page(
    entries: Sequence[Entry],
    sources: Sources,
    groups: Sequence[Group],
    not_defined: Mapping[str, str],
    more: Sequence[Block] = (),
) -> str:
    """comparison.md."""
    lines: list[str] = []
    if entries:
        lines += [
            *ranking(entries),
            *parts(entries),
            *verdicts(entries),
            *conditions(entries),
            *noise(entries),
            *seeds(groups, entries[0].run.unit),
        ]
        lines += ["", markdown(more).rstrip()] if more else []
    else:
        lines.append("No job finished, so there is nothing to compare.")
    lines += [f"\nmeasured again: {note}." for note in sources.notes]
    lines += [f"\nfailed: {name}: {sentence(why)}" for name, why in sources.failed.items()]
    lines += [f"\nnot defined: {name}: {why}" for name, why in not_defined.items()]
    return "\n".join(lines)


def ranking(entries: Sequence[Entry]) -> list[str]:
    run, many, space = entries[0].run, len(entries) > 2, space_terms(entries)
    key, label = run.unit.key, run.unit.label
    counts = sorted({len(entry.run.index) for entry in entries})
    examples = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    text = (
        f"{len(entries)} run{'s' * (len(entries) > 1)} on {examples} examples of the {run.result.get('split', 'test')} split, {label}; ± is one standard error. "
        "The difference to the best run is paired (each example's own difference), with its 95% interval"
    )
    text += (
        f"; * is significant at 5% over all {pairs_of(len(entries))} pairs of runs together (Holm), because the best was chosen among them; the "
        "intervals are each run's own, not corrected."
        if many
        else "; * is significant at 5%."
    )
    lines = [
        text,
        "",
        f"| run | {label} | L_T | sum L_(t-1) | L_0 |{_heads(space)} optimal variance | difference to best |",
        "|---|---|---|---|---|---|---|" + "---|" * len(space),
    ]
    for entry in entries:
        names = (key, "transition_kl", "decoder_nll", *space)
        values = [value(entry.run.value(n), entry.run.value(f"{n}_se")) for n in names]
        optimal = value(entry.run.value(f"{key}_optimal_variance"), entry.run.value(f"{key}_optimal_variance_se"))
        gap = "best" if entry.paired is None else interval(entry.paired.sums, 0) + "*" * entry.significant
        cells = [entry.run.name, values[0], f"{entry.run.value('prior_kl'):.2g}", *values[1:], optimal, gap]
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    return lines


def parts(entries: Sequence[Entry]) -> list[str]:
    """Where each difference lies."""
    if len(entries) < 2:
        return []
    lines = ["", "Paired differences to the best by part, each with its 95% interval:", ""]
    space = space_terms(entries)
    lines += [f"| run | L_T | sum L_(t-1) | L_0 |{_heads(space)}".rstrip(), "|---|---|---|---|" + "---|" * len(space)]
    for entry in entries:
        if pair := entry.paired:
            places = [pair.place(name) for name in (*SUMS[1:], *space)]
            cells = [cell(entry.run.name), *("" if i is None else interval(pair.sums, i) for i in places)]
            lines.append("| " + " | ".join(cells) + " |")
    other = [entry.run.name for entry in entries if entry.paired and entry.paired.per_step is None]
    if other:
        lines += [
            "",
            f"Another number of steps than the best run's, so no term has a partner; over log SNR they compare: {', '.join(other)}.",
        ]
    return lines


def verdicts(entries: Sequence[Entry]) -> list[str]:
    """What is not significant, and what would settle it."""
    lines = []
    for entry in entries:
        if entry.paired and not entry.significant:
            lines.append(f"- {verdict(entry, len(entries) - 1)}")
    return ["", "Not significant:", "", *lines] if lines else []


def verdict(entry: Entry, comparisons: int) -> str:
    pair, settle = entry.paired, entry.settle
    assert pair is not None
    best, found = (
        pair.second.name,
        f"{entry.run.name}: {signed(float(pair.sums.mean[0]))} on {pair.n:,} common examples",
    )
    if settle is None:
        return f"{found}, and one example has no standard error."
    if settle.examples == math.inf:
        return f"{found}: no difference to {best} was found, and no number of network evaluations would make one."
    level = f" at the level of {comparisons} comparisons" if comparisons > 1 else ""
    text = f"{found} is not significant; about {settle.examples:,.0f} examples, {rounded(settle.nfe)} nfe in both runs together, would make a difference of this size significant{level}"
    return f"{text}{_limit(settle, pair)}."


def _limit(settle: Settle, pair: Paired) -> str:
    """What follows if the split has fewer examples."""
    if settle.split is None:
        return f" (now {pair.n:,}; the split may have fewer)" if settle.examples > pair.n else ""
    if settle.within_split:
        return f" (the split has {settle.split:,})"
    text = f", but the split has only {settle.split:,} examples"
    if math.isnan(settle.draws):
        return f"{text}; measured with bound.draws=2, a comparison knows whether more draws of them would do"
    if math.isinf(settle.draws):
        return f"{text}, which alone differ too much: no number of draws of them would do"
    return f"{text}: {math.ceil(settle.draws)} times as many draws of all of them would do, {rounded(settle.draws_nfe)} nfe"


def conditions(entries: Sequence[Entry]) -> list[str]:
    """Which bounds are of p(x|y), where others are of p(x)."""
    given = {entry.run.name: entry.run.result.get("condition") for entry in entries}
    told = [f"{name} (the {what})" for name, what in given.items() if what]
    if len(set(given.values())) < 2:
        return []
    return [
        "",
        f"Not the same quantity: -log p(x|y), given y, in {', '.join(told)}; -log p(x) in the others. On average they differ by "
        "I(x; y), at most the entropy of y, even if both models are exact.",
    ]


def noise(entries: Sequence[Entry]) -> list[str]:
    """What was not alike, and what that means."""
    lines = []
    for entry in entries:
        pair = entry.paired
        if pair is None:
            continue
        seeds = [m.result.get("bound_seed") for m in (pair.first, pair.second)]
        if seeds[0] != seeds[1]:
            lines.append(f"- {entry.run.name}: its noise is not the best run's (bound.seed={seeds[0]} and {seeds[1]}).")
        elif pair.per_step is None or pair.first.label != pair.second.label:  # drawn levels and those of a chain
            lines.append(f"- {entry.run.name}: its t are other levels than the best run's, so they share no noise.")
        elif not pair.common_noise:
            lines.append(
                f"- {entry.run.name}: {pair.per_step.shared:.0%} of the (example, t) evaluated in either run were evaluated in both, the others "
                "share no noise."
            )
        if pair.n < max(len(pair.first.index), len(pair.second.index)):
            lines.append(f"- {entry.run.name}: {pair.n:,} examples are common to both, the others are left out.")
    return (
        ["", "Not in common (the intervals hold, they are only wider than they could be):", "", *lines] if lines else []
    )


def seeds(groups: Sequence[Group], unit: Unit) -> list[str]:
    """Training again beside measuring again."""
    if not any(group.seeds > 1 for group in groups):
        return ["", "One seed each: how much training again would change is not known, and no interval above holds it."]
    ordered = sorted(groups, key=lambda group: group.mean)
    lines = [
        "",
        f"Over seeds, {unit.label}. `between seeds` is the standard deviation of the bound from one training to the next, the part of the "
        "evaluation taken out; `evaluation` is the standard error of the mean on these examples. Neither holds the other. * is significant at 5% over all pairs of "
        "configurations together (Holm).",
        "",
        "| configuration | seeds | mean | between seeds | evaluation | difference to best | over seeds (Welch) | on these examples |",
        "|---|---|---|---|---|---|---|---|",
    ]
    pairs = [versus(group, ordered[0]) for group in ordered[1:]]
    adjusted = [math.nan, *against_the_best([pair.p for pair in pairs])]
    for group, against, p in zip(ordered, [None, *pairs], adjusted):
        spread = f"{group.spread:.4f}" if group.seeds > 1 else "unknown"
        cells = [
            group.name,
            str(group.seeds),
            f"{group.mean:.4f}",
            spread,
            error(group.evaluation_se),
            *_against(against, p),
        ]
        lines.append("| " + " | ".join(map(cell, cells)) + " |")
    if any(group.seeds == 1 for group in groups):
        lines += ["", "With one seed the spread between seeds is unknown, and so is a difference over seeds."]
    return lines


def _against(against: Versus | None, p: float) -> list[str]:
    if against is None:
        return ["best", "", ""]
    over = "unknown" if math.isnan(against.between_half) else _mark(f"± {number(against.between_half)}", p < ALPHA)
    return [signed(against.difference), over, f"± {number(against.evaluation_half)}"]


def _heads(space: Sequence[str]) -> str:
    """Columns for what spaces add."""
    return "".join(f" {name.replace('_', ' ')} |" for name in space)


def _mark(text: str, significant: bool) -> str:
    return text + "*" * significant

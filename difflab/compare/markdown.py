"""The comparison for people: the ranking, where the difference lies, how sure it is, and what would settle the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..card.blocks import Block, Bullets, Heading, Table, Text, markdown
from ..gaussian import Unit
from .paired import SUMS, Paired
from .ranking import Entry, Settle, space_terms
from .seeds import Group, Versus, versus
from .sources import Sources
from .student import ALPHA, against_the_best, pairs_of
from .words import error, interval, number, rounded, sentence, signed, value


@dataclass(frozen=True)
class Section:
    """A part of the comparison; in Markdown only a `headed` one has its title."""

    id: str
    title: str
    blocks: Sequence[Block]
    headed: bool = False


def page(
    entries: Sequence[Entry],
    sources: Sources,
    groups: Sequence[Group],
    not_defined: Mapping[str, str],
    more: Sequence[Section] = (),
) -> str:
    """comparison.md, without the new line at its end."""
    blocks: list[Block] = []
    for section in [*sections(entries, groups), *more]:
        blocks += [Heading(section.title), *section.blocks] if section.headed and section.blocks else section.blocks
    text = markdown(blocks).rstrip()
    text += "".join(f"\n\nmeasured again: {note}." for note in sources.notes)
    text += "".join(f"\n\nfailed: {name}: {sentence(why)}" for name, why in sources.failed.items())
    return text + "".join(f"\n\nnot defined: {name}: {why}" for name, why in not_defined.items())


def sections(entries: Sequence[Entry], groups: Sequence[Group]) -> list[Section]:
    """What the runs themselves say; without any, that."""
    if not entries:
        return [Section("ranking", "Ranking", [Text("No job finished, so there is nothing to compare.")])]
    return [
        Section("ranking", "Ranking", ranking(entries)),
        Section("parts", "Where the differences lie", parts(entries)),
        Section("certainty", "How sure that is", [*verdicts(entries), *conditions(entries), *noise(entries)]),
        Section("seeds", "Over seeds", seeds(groups, entries[0].run.unit)),
    ]


def ranking(entries: Sequence[Entry]) -> list[Block]:
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
    rows = []
    for entry in entries:
        names = (key, "transition_kl", "decoder_nll", *space)
        values = [value(entry.run.value(n), entry.run.value(f"{n}_se")) for n in names]
        optimal = value(entry.run.value(f"{key}_optimal_variance"), entry.run.value(f"{key}_optimal_variance_se"))
        gap = "best" if entry.paired is None else interval(entry.paired.sums, 0) + "*" * entry.significant
        rows.append([entry.run.name, values[0], f"{entry.run.value('prior_kl'):.2g}", *values[1:], optimal, gap])
    head = ["run", label, "L_T", "sum L_(t-1)", "L_0", *_heads(space), "optimal variance", "difference to best"]
    return [Text(text), Table(head, rows)]


def parts(entries: Sequence[Entry]) -> list[Block]:
    """Where each difference lies."""
    if len(entries) < 2:
        return []
    space, rows = space_terms(entries), []
    for entry in entries:
        if pair := entry.paired:
            places = [pair.place(name) for name in (*SUMS[1:], *space)]
            rows.append([entry.run.name, *("" if i is None else interval(pair.sums, i) for i in places)])
    said: list[Block] = [
        Text("Paired differences to the best by part, each with its 95% interval:"),
        Table(["run", "L_T", "sum L_(t-1)", "L_0", *_heads(space)], rows),
    ]
    other = [entry.run.name for entry in entries if entry.paired and entry.paired.per_step is None]
    if other:
        alone = "Another number of steps than the best run's, so no term has a partner; over log SNR they compare:"
        said.append(Text(f"{alone} {', '.join(other)}."))
    return said


def verdicts(entries: Sequence[Entry]) -> list[Block]:
    """What is not significant, and what would settle it."""
    lines = [verdict(entry, len(entries) - 1) for entry in entries if entry.paired and not entry.significant]
    return [Text("Not significant:"), Bullets(lines)] if lines else []


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


def conditions(entries: Sequence[Entry]) -> list[Block]:
    """Which bounds are of p(x|y), where others are of p(x)."""
    given = {entry.run.name: entry.run.result.get("condition") for entry in entries}
    told = [f"{name} (the {what})" for name, what in given.items() if what]
    if len(set(given.values())) < 2:
        return []
    return [
        Text(
            f"Not the same quantity: -log p(x|y), given y, in {', '.join(told)}; -log p(x) in the others. On average they differ by "
            "I(x; y), at most the entropy of y, even if both models are exact."
        )
    ]


def noise(entries: Sequence[Entry]) -> list[Block]:
    """What was not alike, and what that means."""
    lines = []
    for entry in entries:
        pair = entry.paired
        if pair is None:
            continue
        seeds = [m.result.get("bound_seed") for m in (pair.first, pair.second)]
        if seeds[0] != seeds[1]:
            lines.append(f"{entry.run.name}: its noise is not the best run's (bound.seed={seeds[0]} and {seeds[1]}).")
        elif pair.per_step is None or pair.first.label != pair.second.label:  # drawn levels and those of a chain
            lines.append(f"{entry.run.name}: its t are other levels than the best run's, so they share no noise.")
        elif not pair.common_noise:
            lines.append(
                f"{entry.run.name}: {pair.per_step.shared:.0%} of the (example, t) evaluated in either run were evaluated in both, the others "
                "share no noise."
            )
        if pair.n < max(len(pair.first.index), len(pair.second.index)):
            lines.append(f"{entry.run.name}: {pair.n:,} examples are common to both, the others are left out.")
    what = "Not in common (the intervals hold, they are only wider than they could be):"
    return [Text(what), Bullets(lines)] if lines else []


def seeds(groups: Sequence[Group], unit: Unit) -> list[Block]:
    """Training again beside measuring again."""
    if not any(group.seeds > 1 for group in groups):
        return [
            Text("One seed each: how much training again would change is not known, and no interval above holds it.")
        ]
    ordered = sorted(groups, key=lambda group: group.mean)
    text = (
        f"Over seeds, {unit.label}. `between seeds` is the standard deviation of the bound from one training to the next, the part of the "
        "evaluation taken out; `evaluation` is the standard error of the mean on these examples. Neither holds the other. * is significant at 5% over all pairs of "
        "configurations together (Holm)."
    )
    pairs = [versus(group, ordered[0]) for group in ordered[1:]]
    adjusted, rows = [math.nan, *against_the_best([pair.p for pair in pairs])], []
    for group, against, p in zip(ordered, [None, *pairs], adjusted):
        spread = f"{group.spread:.4f}" if group.seeds > 1 else "unknown"
        measured = [f"{group.mean:.4f}", spread, error(group.evaluation_se)]
        rows.append([group.name, str(group.seeds), *measured, *_against(against, p)])
    over = ["difference to best", "over seeds (Welch)", "on these examples"]
    said = [Text(text), Table(["configuration", "seeds", "mean", "between seeds", "evaluation", *over], rows)]
    if any(group.seeds == 1 for group in groups):
        said.append(Text("With one seed the spread between seeds is unknown, and so is a difference over seeds."))
    return said


def _against(against: Versus | None, p: float) -> list[str]:
    if against is None:
        return ["best", "", ""]
    over = "unknown" if math.isnan(against.between_half) else _mark(f"± {number(against.between_half)}", p < ALPHA)
    return [signed(against.difference), over, f"± {number(against.evaluation_half)}"]


def _heads(space: Sequence[str]) -> list[str]:
    """Columns for what spaces add."""
    return [name.replace("_", " ") for name in space]


def _mark(text: str, significant: bool) -> str:
    return text + "*" * significant

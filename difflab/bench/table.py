"""The results as text for people. Every section is a function of what the JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from . import levers, scaling
from .lineup import SAME_NETWORK, SMALL
from .summary import Row, Spread, exhaustive_nfe, fastest, ideal_seconds, limit, measured, rate, ratio, share_of_peak
from .work import KINDS, Kind

Results = Mapping[str, Any]
AS_SHIPPED, FIXED = ", as shipped", ", allocator fixed"


def text(results: Results) -> str:
    """All sections that were measured."""
    sections = {
        "machine": machine,
        "peaks": peaks,
        "works": works,
        "population": population,
        "levers": lever_table,
        "scaling": scaling_table,
        "start": start,
    }
    return "\n\n".join(section(results) for name, section in sections.items() if results.get(name))


def machine(results: Results) -> str:
    about = results["machine"]
    flags = [name for name, there in about["flags"].items() if there] or ["no avx512"]
    versions = ", ".join(f"{name} {number or 'not installed'}" for name, number in about["versions"].items())
    commit = (about["commit"] or "unknown")[:12] + (
        f" and {about['changed_files']} changed files" * bool(about["changed_files"])
    )
    length, load = results["length"], about["load"]
    busy = (
        f"\nNOT ALONE: {load:.1f} processes wanted a core in the minute before; ratios stand it better than speeds do"
    )
    return (
        f"{about['name']} ({about['device']}), {about['threads']} threads, {', '.join(flags)}\n{versions}\ncommit {commit}\n"
        f"medians [smallest, largest] of {length['rounds']} rounds; contenders take turns, one process each"
        + (busy if load is not None and load > 0.5 else "")
    )


def peaks(results: Results) -> str:
    rows = ["measured peak            convolution     backward    matrix product"]
    for name in ("fp32", "bf16"):
        p = results["peaks"]
        values = (p[f"conv_{name}"], p[f"conv_{name}_backward"], p[f"matmul_{name}"])
        rows.append(f"  {name}, GFLOP/s       " + "".join(f"{value:>14,.0f}" for value in values))
    return "\n".join([*rows, f"  memory, GB/s (copy)  {results['peaks']['copy_gb']:>14,.0f}"])


def works(results: Results) -> str:
    parts = [
        work_table(work["title"], KINDS[work["kind"]], work["rows"], results.get("peaks")) for work in results["works"]
    ]
    shares = results.get("idle_shares", {})
    most = max(shares.values(), default=0.0)
    parts.append(f"a waiting process used at most {most:.1%} of a core")
    return "\n\n".join(parts)


def work_table(title: str, kind: Kind, rows: Mapping[str, Row], peaks: Mapping[str, float] | None) -> str:
    """One kind of work: every contender, then what the ratios are, and what they could be."""
    best = fastest(rows, AS_SHIPPED)
    lines = [
        title,
        f"  {'':48}{'':>6}{'GFLOP':>8}{kind.unit:>10}  {'[range]':<18}{'of peak':>8}  times the fastest as shipped",
    ]
    for key, row in rows.items():
        if not measured(row):
            lines.append(f"  {key:<48}{row['error']}")
            continue
        r = rate(row)
        share = f"{share_of_peak(row, kind.forward, peaks):>8.0%}" if peaks else f"{'':>8}"
        against = f"  {spread(ratio(row, rows[best]))}" if best else ""
        range_ = f"[{r.low:.1f}, {r.high:.1f}]"
        head, _, note = row["precision"].partition(" ")
        lines.append(
            f"  {f'{key} {note}'.strip():<48}{head:>6}{row['gflop']:>8.3f}{r.median:>10.1f}  {range_:<18}{share}{against}"
        )
    lines += [f"  {line}" for line in verdicts(kind, rows, peaks)]
    return "\n".join(lines)


def verdicts(kind: Kind, rows: Mapping[str, Row], peaks: Mapping[str, float] | None) -> list[str]:
    """Our ratios over the fastest peers, both ways of running them, and the machine's limit for each of our networks."""
    lines = []
    for key in (SAME_NETWORK, SMALL):
        if key not in rows or not measured(rows[key]):
            continue
        said = []
        for ending in (AS_SHIPPED, FIXED):
            if best := fastest(rows, ending):
                said.append(f"{spread(ratio(rows[key], rows[best]))} times {best}")
        if not said:
            continue
        line = f"{key}: " + "; ".join(said) + f" (target {kind.reach:g}, aim {kind.aim:g})"
        if peaks and (best := fastest(rows, AS_SHIPPED)):
            most = limit(rows[key], kind.forward, peaks) / rate(rows[best]).high
            line += f"\n      at the machine's whole peak this network would be {most:.1f} times the fastest as shipped"
        lines.append(line)
    if peaks:
        gain = ideal_seconds(1, kind.forward, "fp32", peaks) / ideal_seconds(1, kind.forward, "bf16", peaks)
        lines.append(f"bf16 over fp32 at the peak: {gain:.1f}")
    return lines


def spread(value: Spread) -> str:
    return f"{value.median:.2f} [{value.low:.2f}, {value.high:.2f}]"


def population(results: Results) -> str:
    """Our wall time, and what the peers' loop would take: their measured nfe/s times the nfe that its variance needs."""
    found, rows = results["population"], results["population"]["speed"]["rows"]
    lines = [
        f"population bound to a standard error of {found['target_se']:g} bits/dim: {found['origin']}",
        f"  examples differ by sd {found['sd']:.3f} bits/dim (from {found['probed']} of them; its square ± {found['variance_error']:.0%})",
    ]
    for ours in found["ours"]:
        lines.append(
            f"  ours, {ours['precision']}: {ours['seconds']:.1f} s, {ours['nfe']:,} nfe, {ours['pilot_nfe']:,} of them the pilot's; "
            f"{ours['bpd']:.4f} ± {ours['se']:.4f} bits/dim{'' if ours['reached'] else ' (target not reached)'}"
        )
    se = max(found["target_se"], *(ours["se"] for ours in found["ours"]))
    nfe = exhaustive_nfe(found, se)
    lines.append(
        f"  the loop over all {found['T']:,} t: {nfe / found['T']:,.0f} examples, {nfe:,.0f} nfe for ± {se:.2g}; NOT RUN: its time is "
        f"those nfe over the nfe/s measured here"
    )
    for key, row in rows.items():
        if not measured(row):
            lines.append(f"    {key:<48}{row['error']}")
        elif key == SMALL:
            lines.append(f"    {key:<48}{rate(row).median:>8.1f} nfe/s, {row['precision']}")
        else:
            seconds = nfe / rate(row).median
            times = (f"{seconds / ours['seconds']:,.0f} times ours in {ours['precision']}" for ours in found["ours"])
            lines.append(f"    {key:<48}{rate(row).median:>8.1f} nfe/s {seconds / 3600:>8.2f} h   {', '.join(times)}")
    if (best := fastest(rows, AS_SHIPPED)) and measured(rows.get(SMALL, {})):
        ours, seconds = found["ours"][0], nfe / rate(rows[best]).median
        fewer, faster = nfe / ours["nfe"], ratio(rows[SMALL], rows[best]).median
        lines.append(
            f"  against the fastest as shipped (target 500, aim 1000): {seconds / ours['seconds']:,.0f} times by the wall clock; "
            f"{fewer:,.0f} times fewer evaluations, {faster:.2f} times as many a second in interleaved rounds: {fewer * faster:,.0f} times"
        )
    return "\n".join(lines)


def lever_table(results: Results) -> str:
    """With over without, of unet_small."""
    lines = [
        "levers of unet_small, batch 32: speed with over speed without (GFLOP without, where they differ)",
        f"  {'':48}{'training':<22}full bound",
    ]
    for name, cells, gflop in levers.ratios(results["levers"]):
        said = "".join(f"{spread(cell) if isinstance(cell, Spread) else cell:<22}" for cell in cells)
        lines.append(f"  {name:<48}{said}{f'({gflop:.3f})' if gflop else ''}".rstrip())
    return "\n".join(lines)


def scaling_table(results: Results) -> str:
    lines = ["cost of the full bound by unet_small (every term): time over work 1 = linear, memory 1 = flat"]
    for name, rows in results["scaling"].items():
        cells = ", ".join(
            f"{row['value']}: "
            + (row["error"] if "error" in row else f"{row['seconds']:.2f} s {row['memory_gb']:.2f} GB")
            for row in rows
        )
        time, memory = scaling.growth(name, rows)
        lines.append(f"  {name:<6} {cells}   time/work {time:.2f}, memory {memory:.2f}")
    if results.get("figure"):
        lines.append(f"  figure {results['figure']}")
    return "\n".join(lines)


def start(results: Results) -> str:
    lines = ["start (target about 1 s, aim 0.6 s)"]
    for line, seconds in results["start"].items():
        lines.append(f"  python -m difflab {line:<12}{median(seconds):.2f} s [{min(seconds):.2f}, {max(seconds):.2f}]")
    return "\n".join(lines)

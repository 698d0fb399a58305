"""What the terminal shows: the composed configuration, progress, the table of the bound."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from .gaussian import Unit

OPTIMUM = "entropy"  # the one floor that is not to be beaten: the data's own
VARIANT_KEYS = ("kind", "method", "name")  # what a group may call the key that chooses its variant
VARIANCE_NAMES = {"own": "its own", "optimal": "optimal, fitted on training data"}
WINDOW = 15.0  # seconds over which the shown rate is measured


def duration(seconds: float) -> str:
    """For people: 0.4 s, 12 s, 2 min 05 s, 1 h 05 min, 2 d 03 h; ? if not finite."""
    if not math.isfinite(seconds):
        return "?"
    if abs(seconds) < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24:02d} h"


def config_tree(config: Mapping[str, Any]) -> str:
    """Indented keys with their values in one column; a group's chosen variant stands on the group's own line."""
    rows: list[tuple[str, str]] = []

    def walk(node: Mapping[str, Any], depth: int) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping):
                chosen = next((k for k in VARIANT_KEYS if isinstance(value.get(k), str)), None)
                rows.append(("    " * depth + str(key), value[chosen] if chosen else ""))
                walk({k: v for k, v in value.items() if k != chosen}, depth + 1)
            else:
                rows.append(("    " * depth + str(key), _value(value)))

    walk(config, 0)
    width = max((len(key) for key, _ in rows), default=0) + 2
    return "\n".join(f"{key:<{width}}{value}".rstrip() for key, value in rows)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def bound_table(totals: Mapping[str, Any], floors: Mapping[str, float], unit: Unit) -> str:
    """The bound's terms, each with its standard error, above the sanity floors, lowest first.

    totals: as in result.json (`Ledger.totals`), in `unit`; lines of absent keys are left out. The difference to the
    best floor has the bound's own standard error: the floors are taken as exact.
    """
    given = f" of p(x|{totals['condition']})" if totals.get("condition") else ""
    lines = [
        ("L_T", "prior KL", "prior_kl"),
        ("sum L_t-1", "transition KL", "transition_kl"),
        ("", "  mean error", "mean_error"),
        ("", "  variance mismatch", "variance_mismatch"),
        ("L_0", "decoder", "decoder_nll"),
        *(("x -> z", name.removeprefix("space_").replace("_", " "), name) for name in totals if is_space_term(name)),
        ("L", f"bound{given}", unit.key),
        ("", "  with the best isotropic variance", f"{unit.key}_optimal_variance"),
    ]
    facts = [
        f"{totals[key]:,} {name}"
        for key, name in (("examples", "examples"), ("nfe", "network evaluations"))
        if key in totals
    ]
    text = [f"{', '.join(facts):<48}{unit.label:>9}    std. error".rstrip()]
    for symbol, name, key in lines:
        if totals.get(key) is None or not math.isfinite(totals[key]):
            continue
        if key == unit.key:
            text.append("-" * 71)
        se = totals.get(f"{key}_se")
        error = "" if se is None or se < 1e-14 * abs(totals[key]) else _error(se)  # a constant has none
        text.append(f"{symbol:<10}{name:<36}{_number(totals[key]):>11} {error:>12}".rstrip())
    if given:
        text.append(
            f"conditional on the {totals['condition']}, which the network is told and no bit is counted for; the floors are of p(x)"
        )
    return "\n".join(text + _floor_lines(totals, floors, unit))


def variance_lines(variances: Mapping[str, Mapping[str, Any]], unit: Unit) -> str:
    """The bound of the same mean under every variance, best first. variances: as in result.json, `own` among them."""
    key = unit.key
    known = [(v[key], v.get(f"{key}_se"), name) for name, v in variances.items() if v.get(key) is not None]
    lines = ["", f"the same mean with the variance ({unit.label})"]
    for value, se, name in sorted(known, key=lambda row: row[0]):
        lines.append(f"{'':<10}{VARIANCE_NAMES.get(name, name):<36}{_number(value):>11} {_error(se):>12}".rstrip())
    return "\n".join(lines)


def effort_lines(totals: Mapping[str, Any], unit: Unit, targets: Sequence[float] = (0.01, 0.005)) -> str:
    """What the evaluation's own scatter says: the evaluations that a standard error takes, and each example's own error.

    A standard error falls with the square root of the evaluations as long as there are examples to add; where the split
    (totals' split_examples) has too few, that is said.
    """
    se, nfe, noise = totals.get(f"{unit.key}_se"), totals.get("nfe"), totals.get(f"{unit.key}_se_noise")
    if not se or not nfe or not math.isfinite(se):
        return ""
    split, needed = totals.get("split_examples"), []
    for target in targets:
        more = (se / target) ** 2
        short = split is not None and totals["examples"] * more > split
        limit = f" (more examples than the split's {split:,})" if short else ""
        needed.append(f"{target:g} takes {nfe * more:,.0f}{limit}")
    text = f"network evaluations of this design for a standard error ({unit.label}): {', '.join(needed)}"
    if noise is not None and math.isfinite(noise):
        own = noise * math.sqrt(totals["examples"])
        text += f"\neach example's own bound is known to ± {own:.4f}, by {nfe // totals['examples']:,} evaluations"
    return text


def with_error(totals: Mapping[str, Any], unit: Unit) -> str:
    """The bound, ± its standard error where there is one."""
    return f"{_number(totals[unit.key])} {_error(totals.get(f'{unit.key}_se'))}".rstrip()


def alone_line(value: float, totals: Mapping[str, Any], unit: Unit) -> str:
    """What the space is worth without the chain, and what the chain gains."""
    gain, se = totals["chain_gain"], totals.get("chain_gain_se")
    alone = with_error({unit.key: value, f"{unit.key}_se": totals.get(f"{unit.key}_without_chain_se")}, unit)
    return f"the space alone, with its own law of z in place of the chain: {alone} {unit.label}; the chain gains {gain:.4f} {_error(se)}".rstrip()


def gain_line(gain: Mapping[str, Any]) -> str:
    """`information_gain` of result.json, for people."""
    error, ceiling = _error(gain["K_se"]), gain["ceiling"]
    most = f" (at most {ceiling:.4f}, by the entropy)" if ceiling is not None else ""
    K, over = (" ".join(filter(None, (f"{gain[key]:.4f}", error))) for key in ("K", "K_minus_L_null"))
    scale = "" if gain["deviation"] is None else "at unit variance, "  # a probability has no scale
    return f"{scale}bits/{gain['per']}: K = {K}{most}, K - L_null = {over}"


def nats_line(totals: Mapping[str, Any], unit: Unit, dims: int, example: str) -> str:
    """The bound of a whole example in nats, as the literature of binary pictures quotes it."""
    scale, se = dims * unit.nats, totals.get(f"{unit.key}_se")
    error = _error(None if se is None else scale * se)
    return " ".join(filter(None, (f"nats/{example}: {scale * totals[unit.key]:.4f}", error)))


def _floor_lines(totals: Mapping[str, Any], floors: Mapping[str, float], unit: Unit) -> list[str]:
    known = sorted((value, name) for name, value in floors.items() if value is not None and math.isfinite(value))
    if not known:
        return []
    best = next((name for _, name in known if name != OPTIMUM), None)
    total, se = totals.get(unit.key), totals.get(f"{unit.key}_se")
    lines = ["", f"sanity floors ({unit.label})"]
    for value, name in known:
        note = ""
        if total is not None and name in (best, OPTIMUM):
            side = "below" if total < value else "above"
            what = "no model is below this" if name == OPTIMUM else "best floor"
            difference = " ".join(filter(None, (f"{abs(total - value):.4f}", _error(se), side)))
            note = f"   <- {what}: the bound is {difference}"
        lines.append(f"{'':<10}{name:<36}{value:>11.4f}{note}")
    return lines


def is_space_term(name: str) -> bool:
    """Whether a total is that of a space's term (and not a part of its error, or the time it took)."""
    return name.startswith("space_") and not name.endswith(("_se", "_se_between", "_se_noise", "_seconds"))


def _error(se: float | None) -> str:
    return "" if se is None or not math.isfinite(se) else f"± {_number(se)}"


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or abs(value) >= 5e-5 else f"{value:.1e}"


class _Outlived:
    """A stream that goes on as if nothing was, once nobody reads it or its disk is full."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:  # a terminal or a locale without ±
            encoding = self._stream.encoding
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """What is still in its buffer goes nowhere, or the interpreter would complain at its end."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def outlived() -> Iterator[None]:
    """Whoever reads stdout and stderr may go away (`| head`, a closed terminal): a run of hours is not lost for that."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed (`>&-`): else the next file that is opened gets the number, and what others print
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Outlived(stream) if stream else stream for stream in before)  # type: ignore[assignment]
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
        sys.stdout, sys.stderr = before


class Progress:
    """A bar on a terminal, a plain line every `every` seconds elsewhere; both on stderr.

        with Progress("training", unit="step", total=1500) as bar:
            for step in ...:
                bar.note({"loss": 0.0123})      # shown from here on
                bar.update(step)

    `transient`: nothing is left of it at the end. A broken stream silences it; it never raises.
    """

    def __init__(
        self,
        label: str,
        unit: str = "step",
        total: int | None = None,
        transient: bool = False,
        every: float = 10.0,
        stream: TextIO | None = None,
    ) -> None:
        self.label, self.unit, self.total, self.transient = label, unit, total, transient
        self.stream = stream or sys.stderr
        self.terminal = self._is_terminal()
        self.interval = 0.1 if self.terminal else every
        self.done, self._first = 0, 0
        self._notes: dict[str, float | str] = {}
        self.left: float | None = None  # seconds, where somebody knows better than the average speed so far tells
        self._started = self._shown = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque()

    def __enter__(self) -> Self:
        self._started = self._shown = time.monotonic()
        self._recent.append((self._started, self.done))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.transient:
            if self.terminal:
                self._write("\r\x1b[K")
        else:
            self._show(finished=True)

    def start_at(self, done: int) -> None:
        """Work that an earlier run did: it counts as done, not as speed."""
        self.done = self._first = done
        self._started = time.monotonic()
        self._recent = deque([(self._started, done)])

    def update(self, done: int, total: int | None = None) -> None:
        """So much is done, of so much (if that is known only now)."""
        self.done, self.total = done, total if total is not None else self.total
        now = time.monotonic()
        self._recent.append((now, done))
        while len(self._recent) > 2 and self._recent[1][0] < now - WINDOW:
            self._recent.popleft()
        if now - self._shown >= self.interval:
            self._show()

    def note(self, values: Mapping[str, float | str]) -> None:
        """Figures to show beside the progress; they stay until replaced (by "": gone)."""
        self._notes |= values

    def line(self, text: str) -> None:
        """A line of text above the bar."""
        self._write(f"\r\x1b[K{text}\n" if self.terminal else f"{text}\n")
        if self.terminal:
            self._show()

    @property
    def rate(self) -> float:
        """Units a second over the last WINDOW seconds; NaN before the first update."""
        if len(self._recent) < 2:
            return math.nan
        (t0, n0), (t1, n1) = self._recent[0], self._recent[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else math.nan

    @property
    def seconds_left(self) -> float:
        """By the average speed so far, pauses (validation) included: NaN if unknown."""
        if self.left is not None:
            return self.left
        spent, worked = time.monotonic() - self._started, self.done - self._first
        return (self.total - self.done) * spent / worked if self.total is not None and worked > 0 else math.nan

    def _show(self, finished: bool = False) -> None:
        self._shown = time.monotonic()
        text = self._text(finished)
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r{text[:width]}\x1b[K" + "\n" * finished)
        else:
            self._write(text + "\n")

    def _text(self, finished: bool) -> str:
        parts = [self.label]
        if self.total:
            share = min(max(self.done / self.total, 0.0), 1.0)
            if self.terminal:
                parts.append("[" + "#" * round(20 * share) + "." * (20 - round(20 * share)) + "]")
            parts.append(f"{self.done:,}/{self.total:,} {self.unit} ({share:.0%})")
        else:
            parts.append(f"{self.done:,} {self.unit}")
        if math.isfinite(self.rate) and self.rate > 0:
            parts.append(f"{self.rate:,.1f} {self.unit}/s" if self.rate >= 1 else f"{1 / self.rate:,.1f} s/{self.unit}")
        if finished:
            parts.append(duration(time.monotonic() - self._started))
        elif math.isfinite(self.seconds_left):
            parts.append(f"{duration(self.seconds_left)} left")
        parts += [
            f"{name} {value if isinstance(value, str) else format(value, '.4g')}"
            for name, value in self._notes.items()
            if value != ""
        ]
        return "  ".join(parts)

    def _is_terminal(self) -> bool:
        try:
            return self.stream.isatty() and os.environ.get("TERM") != "dumb"
        except (AttributeError, ValueError):
            return False

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):  # a closed or full stream must not end the run
            self._write = lambda text: None

"""When a standard error was asked for instead of a budget."""

from __future__ import annotations

import math

import numpy as np

LEAST = 256  # examples before a standard error is believed
MOST = 64  # rounds: beyond them a target just above what the examples alone leave would take for ever


class Target:
    """Watches the bound of each example, round by round, until the standard error of their mean is at most `se`.

    In the first round examples are added. If the split ends before the target is reached, whole rounds of further draws
    follow; they reduce the part of the error that is due to the draws. When they show that the examples alone differ too
    much, by two standard errors, it ends: no number of draws would do. It also ends after MOST rounds.
    """

    def __init__(self, se: float, draws: int) -> None:
        self.se, self.draws = se, draws
        self._rounds: list[np.ndarray] = []
        self._whole = 0  # complete rounds
        self._why = ""  # it was given up

    def add(self, round_number: int, totals: np.ndarray) -> None:
        """The bounds of the next examples of a round, in the unit."""
        if round_number == len(self._rounds):
            self._rounds.append(totals)
        else:
            self._rounds[round_number] = np.concatenate([self._rounds[round_number], totals])

    @property
    def rounds(self) -> int:
        return max(self._whole, 1)

    @property
    def count(self) -> int:
        return len(self._rounds[0])

    @property
    def reached_se(self) -> float:
        """Standard error of the mean over the whole rounds."""
        means = np.mean(self._rounds[: self.rounds], 0)
        return float(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else math.nan

    @property
    def reached(self) -> bool:
        return self.count >= LEAST and self.reached_se <= self.se

    def _shared(self) -> np.ndarray:
        """For each example that all rounds have seen, an unbiased estimate of the variance between examples: the product
        of what two different rounds say of it, averaged over pairs of rounds."""
        seen = len(self._rounds[-1])
        x = np.array([r[:seen] - r[:seen].mean() for r in self._rounds])
        n = len(x)
        return (x.sum(0) ** 2 - (x**2).sum(0)) / (n * (n - 1)) * (seen / (seen - 1))

    @property
    def floor(self) -> float:
        """What the standard error tends to with ever more draws: the part between the examples (NaN after one round)."""
        if len(self._rounds) < 2 or len(self._rounds[-1]) < 2:
            return math.nan
        return math.sqrt(max(float(self._shared().mean()), 0.0) / self.count)

    def _surely_hopeless(self) -> bool:
        shared = self._shared()
        low = shared.mean() - 2 * shared.std(ddof=1) / math.sqrt(len(shared))
        return bool(low / self.count > self.se**2)

    @property
    def expected(self) -> int:
        """Examples, counted once a round, that the target is expected to take."""
        if len(self._rounds) == 1 and self._whole == 0 and self.count >= LEAST:
            return math.ceil(self.count * (self.reached_se / self.se) ** 2)
        return self.count * (len(self._rounds) + (len(self._rounds) == self._whole))

    def ended(self, whole: bool) -> bool:
        """Whether to stop here; `whole`: the round's last example was just added."""
        if whole:
            self._whole = len(self._rounds)
        if (len(self._rounds) == 1 or whole) and self.reached:
            return True
        if whole and self.count < LEAST:
            self._why = f"{self.count} examples are too few to believe one (at least {LEAST})"
        elif len(self._rounds) > 1 and len(self._rounds[-1]) >= LEAST and self._surely_hopeless():
            self._why = (
                f"the target of {self.se:g} cannot be reached, because these examples alone leave an error of "
                f"{self.floor:.2g}, whatever is drawn"
            )
        elif whole and self._whole == MOST:
            self._why = f"the target of {self.se:g} was not reached in {MOST} rounds of draws, and is given up"
        return bool(self._why)

    def sentence(self, unit: str, nfe: int) -> str:
        """What became of it after `nfe` network evaluations, for people."""
        draws = self.rounds * self.draws
        outcome = self._why or f"the target of {self.se:g} is reached"
        return (
            f"standard error {self.reached_se:.4g} {unit} after {nfe:,} network evaluations ({self.count:,} examples, "
            f"{draws} draw{'s' * (draws > 1)} each): {outcome}"
        )

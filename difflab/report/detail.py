"""How much of a run a page can hold: a page of four runs shows all there is, a page of eighty stays one file of a few MB."""

from __future__ import annotations

from dataclasses import dataclass

FEW = 4  # runs, of which nothing is left out


@dataclass(frozen=True)
class Detail:
    """What is kept of one run."""

    points: int = 1000  # of a curve over t: neighbours are pooled, their sums are exact
    logged: int = 400  # of a training curve: rows are averaged
    validations: int = 60  # of the map over training: the others are left out
    rates: int = 400  # of rate and distortion: the others are left out, t <= 40 aside
    picture_bytes: int = 1_200_000  # of samples
    strip_bytes: int = 1_200_000  # of strips of x_t
    few: bool = True  # levels of chains, errors of bands, whole clouds of points

    @classmethod
    def of(cls, runs: int) -> Detail:
        if runs <= FEW:
            return cls(picture_bytes=cls.picture_bytes // max(runs, 1), strip_bytes=cls.strip_bytes // max(runs, 1))
        return cls(
            points=_share(12_000, runs, 150, 500),
            logged=_share(12_000, runs, 100, cls.logged),
            validations=_share(1000, runs, 12, cls.validations),
            rates=_share(8000, runs, 60, cls.rates),
            picture_bytes=max(cls.picture_bytes // runs, 20_000),
            strip_bytes=cls.strip_bytes // runs,
            few=False,
        )


def _share(whole: int, runs: int, least: int, most: int) -> int:
    return min(max(whole // runs, least), most)

"""The Frechet distance between the Gaussians of two sets' means and covariances (Dowson & Landau 1982; FID's last step),

    d^2 = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)),

by torchmetrics, whose feature network is the identity here: features are computed once, and the distance many times.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .jackknife import Estimate, group_of, jackknife, pairs_of

AWAY = (1, 2, 3)  # how far from each other the groups of a pair are that is left out: enough pairs for a mean


class _Given(nn.Module):
    """Features as they are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def check_installed() -> None:
    """ConfigError without torchmetrics; it takes seconds to import, and what needs it comes after hours of sampling."""
    if find_spec("torchmetrics") is None:
        raise ConfigError("task=quality needs torchmetrics: pip install 'difflab[quality]'.")


def distance(samples: Tensor, data: Tensor) -> float:
    """Of features [N, d] and [M, d], N and M at least 2, in float64."""
    from torchmetrics.image.fid import FrechetInceptionDistance  # pyright: ignore[reportMissingImports]

    metric = FrechetInceptionDistance(feature=_Given(samples.shape[1]))
    origin = data.double().mean(0)  # large means would cost digits of the sums of squares
    metric.update(data.double() - origin, real=True)
    metric.update(samples.double() - origin, real=False)
    return float(metric.compute())


def frechet(
    samples: Tensor, data: Tensor, groups: int, on_batch: Callable[[int, int], None] = lambda done, total: None
) -> Estimate:
    """The distance with its error and without its bias, which is positive: a finite set of the very same law has one."""
    pairs = pairs_of(groups, AWAY)
    total, done = 1 + groups + len(pairs), 0
    of_samples, of_data = group_of(len(samples), groups), group_of(len(data), groups)

    def without(*left_out: int) -> float:
        nonlocal done
        rest = (torch.from_numpy(~np.isin(group, left_out)) for group in (of_samples, of_data))
        found = distance(samples[next(rest)], data[next(rest)])
        done += 1
        on_batch(done, total)
        return found

    value, single = without(), [without(g) for g in range(groups)]
    return jackknife(value, single, [(g, h, without(g, h)) for g, h in pairs])

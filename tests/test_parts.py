"""Parts that learn beside the network are submodules of it, and each copy of the network has its own."""

from __future__ import annotations

import torch
from torch import nn

from difflab.diffusion import adopt, adopted
from difflab.precision import in_precision
from difflab.train.ema import Ema
from difflab.variance.fixed_beta import FixedBeta
from tests.analytic import cosine, diffusion_of, shrinking


class _Learned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))


def test_a_network_adopts_the_parts_that_are_modules_and_no_others() -> None:
    network, part = nn.Linear(2, 2), _Learned()
    adopt(network, {"variance": FixedBeta(ddpm_t1=False), "schedule": part})
    assert adopted(network) == {"schedule": part}
    assert any(p is part.weight for p in network.parameters())
    assert "part_schedule.weight" in network.state_dict()


def test_an_average_has_its_own_parts_through_whatever_wraps_it() -> None:
    network, part = nn.Linear(2, 2), _Learned()
    adopt(network, {"schedule": part})
    average = Ema(network, 0.5)
    wrapped = in_precision(average, "bf16", torch.device("cpu"))
    on = diffusion_of(shrinking, cosine(10)).on(wrapped)
    assert on.model is wrapped
    assert on.schedule is adopted(average)["schedule"] is not part


def test_a_function_has_no_parts() -> None:
    diffusion = diffusion_of(shrinking, cosine(10))
    assert diffusion.on(shrinking).schedule is diffusion.schedule

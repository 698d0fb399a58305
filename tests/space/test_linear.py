"""Principal directions: the change of variables is exact, and a Gaussian's or probabilistic PCA's where z is normal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from difflab.data._floors import gaussian
from difflab.errors import ConfigError
from difflab.space._linear import Linear
from difflab.space.whiten import Whiten
from difflab.train.lessons import lessons
from tests.analytic import ExactVariance, Normal, cosine, diffusion_of, expected_bound, hermite, linear

GENERATOR = torch.Generator().manual_seed(5)
FACTOR = torch.randn(4, 4, generator=GENERATOR, dtype=torch.float64) + torch.eye(4, dtype=torch.float64)
MEAN = torch.tensor([0.3, -0.2, 0.9, 0.0], dtype=torch.float64)
UNIT = Normal(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def of_moments(make: Callable[[tuple[int, ...], int | None], Linear], levels: int | None = None) -> Linear:
    space = make((4,), levels)
    space.set(MEAN, FACTOR @ FACTOR.T)
    return space


def learned(space: Linear, x: Tensor, levels: int | None) -> Linear:
    to_unit = torch.Tensor.float if levels is None else lambda x: 2 * x.float() / (levels - 1) - 1
    for _ in space.learn(lessons(x, to_unit, torch.device("cpu"), 0), {}):
        assert not space.ready
    assert space.ready
    return space


def corners(dims: int) -> Tensor:
    """Noise whose dequantisation is every corner of a cube with the moments of the uniform law, to the second order."""
    signs = torch.tensor([*itertools.product([-1.0, 1.0], repeat=dims)], dtype=torch.float64)
    return torch.special.ndtri(0.5 + signs / math.sqrt(12))


@pytest.mark.parametrize("schedule", [linear(21), cosine(1)], ids=["21 steps", "1 step"])
def test_the_exact_model_of_z_has_the_entropy_of_x_as_its_bound(schedule) -> None:
    """z is N(0, I), so the chain reaches its entropy and no prior mismatch is left; nats, of x."""
    space = of_moments(Whiten)
    nodes, weight = hermite(3, 4)
    found = space.encode(MEAN + nodes @ FACTOR.T, None)
    added = float((found.sum * weight).sum())
    chain = expected_bound(diffusion_of(UNIT.predict, schedule, "v", ExactVariance(UNIT)), UNIT.nodes())
    entropy = 0.5 * float(torch.linalg.slogdet(2 * math.pi * math.e * FACTOR @ FACTOR.T)[1])
    assert added + 4 * chain == pytest.approx(entropy, abs=1e-9)
    assert torch.allclose((found.z.double().square() * weight[:, None]).sum(0), torch.ones(4).double(), atol=1e-5)


@pytest.mark.parametrize("levels", [None, 17])
def test_the_volume_is_the_determinant_of_the_map(levels: int | None) -> None:
    space = of_moments(Whiten, levels)
    still = None if levels is None else torch.zeros(5, 4)  # the middle of each bin
    origin, *steps = space.encode(torch.cat([torch.zeros(1, 4), torch.eye(4)]), still).z.double()
    log_det = torch.linalg.slogdet(torch.stack(steps) - origin)[1]
    width = 2 / (levels - 1) if levels else 1.0
    volume = space.encode(torch.zeros(1, 4), None if still is None else still[:1]).parts["space_volume"]
    assert float(volume) == pytest.approx(float(-log_det) - 4 * math.log(width), abs=1e-6)


def test_with_a_normal_z_it_is_the_gaussian_of_the_training_split() -> None:
    """data/_floors.gaussian, whose noise is a variance: here every corner of a cube that has it."""
    levels = 9
    train, test = (torch.randint(0, levels, (n, 3), generator=GENERATOR) for n in (60, 25))
    train[:, 2] = train[:, 0] // 2 + train[:, 1] % 2  # dimensions that go together
    space = learned(Whiten((3,), levels), train, levels)
    noise = corners(3)
    total = 0.0
    for x in test:
        found = space.encode((2 * x.float() / (levels - 1) - 1).expand(8, 3), noise)
        plain = space.plain_nll(found.z)
        assert plain is not None
        total += float((found.sum + plain).mean())
    assert total / len(test) / 3 == pytest.approx(gaussian(train, test, bin_width=1.0), abs=1e-5)


def test_dequantised_values_stay_in_their_bins_and_decoding_undoes_the_map() -> None:
    levels = 5
    space = of_moments(Whiten, levels)
    x = (torch.randint(0, levels, (200, 4), generator=GENERATOR) / 2 - 1).float()
    y = space.decode(space.encode(x, torch.randn(200, 4, generator=GENERATOR)).z)
    assert float((y - x).abs().max()) <= 0.25 + 1e-5
    assert float((y - x).std()) == pytest.approx(0.5 / math.sqrt(12), rel=0.1)
    still = space.decode(space.encode(x, torch.zeros(200, 4)).z)
    assert torch.allclose(still, x, atol=1e-5)


def test_an_eigenvector_has_one_sign_whatever_the_library_says(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of_moments(Whiten).basis.clone()
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: (eigh(matrix)[0], -eigh(matrix)[1]))
    assert torch.equal(of_moments(Whiten).basis, before)


def test_the_moments_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(50, 3, generator=GENERATOR)
    whole = learned(Whiten((3,), None), x, None)
    monkeypatch.setattr("difflab.space._linear.CHUNK", 7)
    parts = learned(Whiten((3,), None), x, None)
    assert torch.allclose(whole.mean, x.double().mean(0), atol=1e-12)
    for name, value in whole.state_dict().items():
        assert torch.allclose(parts.state_dict()[name].double(), value.double(), atol=1e-12), name


def test_data_without_a_density_in_all_dimensions_are_refused() -> None:
    x = torch.randn(50, 2, generator=GENERATOR)
    for degenerate in (torch.cat([x, x[:, :1]], 1), torch.randn(3, 3, generator=GENERATOR)):
        with pytest.raises(ConfigError, match=r"space=whiten: the training data span too few of their 3 dimensions"):
            learned(Whiten((3,), None), degenerate, None)
    learned(Whiten((3,), 9), torch.zeros(5, 3).long(), 9)  # dequantisation gives constant pixels a density


def test_too_many_dimensions_are_refused_before_anything_is_allocated() -> None:
    with pytest.raises(ConfigError, match="at most 4,096 dimensions, and these have 12,288"):
        Whiten((3, 64, 64), 256)

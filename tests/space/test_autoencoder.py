"""The whole bound of latent diffusion: exact where the autoencoder is linear, a function of its seed, standardised."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from difflab.errors import ConfigError, NotDefined
from difflab.space.autoencoder import Autoencoder, most_halvings
from difflab.train.lessons import lessons

SHAPE = (1, 4, 4)
VALUES: dict[str, Any] = {
    "channels": 1, "halvings": 1, "width": 8, "kl_weight": 1.0, "steps": 8, "batch_size": 10, "lr": 1e-3, "load": None
}  # fmt: skip
LEVELS = 17
DATA = torch.randint(0, LEVELS, (60, *SHAPE), generator=torch.Generator().manual_seed(1))


def made(levels: int | None = LEVELS, shape: tuple[int, ...] = SHAPE, **changed: Any) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(shape, levels, **{**VALUES, **changed})


def to_unit(x: Tensor) -> Tensor:
    return 2 * x.float() / (LEVELS - 1) - 1


SOURCE = lessons(DATA, to_unit, torch.device("cpu"), 3)


class LinearModel:
    """p(u) = N(0, I), p(x|u) = N(W u + b, s2 I) with orthogonal columns of W, so that the exact q(u|x) is diagonal, too."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(2)
        directions = torch.linalg.qr(torch.randn(16, 4, generator=generator, dtype=torch.float64))[0]
        self.W = directions * torch.tensor([2.0, 1.0, 0.5, 0.2]).double()
        self.b, self.s2 = torch.randn(16, generator=generator).double(), 0.3

    def posterior(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        precision = 1 + self.W.square().sum(0) / self.s2
        mean = (x0.flatten(1).double() - self.b) @ self.W / self.s2 / precision
        return mean.reshape(-1, 1, 2, 2), -precision.log().expand(len(x0), 4).reshape(-1, 1, 2, 2)

    def likelihood(self, u: Tensor) -> tuple[Tensor, Tensor]:
        mean = u.flatten(1).double() @ self.W.T + self.b
        return mean.reshape(-1, *SHAPE), torch.full((len(u), *SHAPE), math.log(self.s2)).double()

    def log_density(self, x0: Tensor) -> float:
        covariance = self.W @ self.W.T + self.s2 * torch.eye(16).double()
        centred = x0.flatten().double() - self.b
        quadratic = centred @ torch.linalg.inv(covariance) @ centred
        return float(-0.5 * (quadratic + torch.linalg.slogdet(2 * math.pi * covariance)[1]))


@pytest.mark.parametrize("standardised", [False, True])
def test_with_the_exact_posterior_and_prior_the_bound_is_the_likelihood(standardised: bool) -> None:
    """Every corner of the noise's cube has its second moments, and all is quadratic in it: the mean is exact. The scale of z
    changes nothing."""
    space, model = made(levels=None), LinearModel()
    space.posterior, space.likelihood = model.posterior, model.likelihood  # type: ignore[method-assign]
    if standardised:
        space.scale.fill_(0.37)
        space.shift.fill_(-1.4)
    noise = torch.tensor([*itertools.product([-1.0, 1.0], repeat=4)]).reshape(16, 1, 2, 2)
    x0 = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    found = space.encode(x0.expand(16, *SHAPE), noise)
    plain = space.plain_nll(found.z)
    assert plain is not None
    assert float((found.sum + plain).mean()) == pytest.approx(-model.log_density(x0), abs=1e-5)
    torch.testing.assert_close(space.decode(found.z).double(), model.likelihood(found.z * space.scale + space.shift)[0])


def test_the_entropy_is_that_of_z() -> None:
    """Of the normal law that z has, whose deviation a unit of noise shows."""
    space = made()
    space.scale.fill_(0.37)
    space.shift.fill_(2.0)
    x0 = to_unit(DATA[:5])
    still, moved = (space.encode(x0, torch.full((5, 1, 2, 2), n)) for n in (0.0, 1.0))
    var = (moved.z - still.z).double().square()
    entropy = 0.5 * torch.log(2 * math.pi * math.e * var).flatten(1).sum(1)
    assert torch.allclose(still.parts["space_entropy"], -entropy, atol=1e-4)


def test_a_worse_posterior_costs_its_divergence() -> None:
    """-ELBO = -log p(x) + KL(q || p(u|x)): with q shifted and widened, in closed form."""
    space, model = made(levels=None), LinearModel()

    def worse(x0: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = model.posterior(x0)
        return mean + 0.1, log_var + 0.5

    space.posterior, space.likelihood = worse, model.likelihood  # type: ignore[method-assign]
    noise = torch.tensor([*itertools.product([-1.0, 1.0], repeat=4)]).reshape(16, 1, 2, 2)
    x0 = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
    found = space.encode(x0.expand(16, *SHAPE), noise)
    _, log_var = model.posterior(x0[None])
    kl = float(0.5 * (math.exp(0.5) - 1 - 0.5 + 0.01 * torch.exp(-log_var)).sum())
    plain = space.plain_nll(found.z)
    assert plain is not None
    assert float((found.sum + plain).mean()) == pytest.approx(-model.log_density(x0) + kl, abs=1e-5)


def test_its_reconstruction_of_a_grid_is_a_probability() -> None:
    """Over all values of one pixel it sums to one."""
    space = made()
    u = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(0)).expand(LEVELS, 1, 2, 2)
    x0 = to_unit(DATA[:1]).repeat(LEVELS, 1, 1, 1)
    x0[:, 0, 1, 2] = torch.linspace(-1, 1, LEVELS)
    nats = space.reconstruction(x0, u)
    others = x0[:1].clone()
    mean, log_var = space.likelihood(u[:1])
    from difflab.decoder.discretized_gaussian import DiscretizedGaussian

    each = DiscretizedGaussian(LEVELS).log_prob(others, mean, log_var).double()
    rest = float(-each.sum() + each[0, 0, 1, 2])
    assert float(torch.exp(rest - nats).sum()) == pytest.approx(1, abs=1e-5)


def test_learning_in_pieces_is_learning_in_one() -> None:
    whole = made()
    losses = [lesson.notes for lesson in whole.learn(SOURCE, {})]
    assert len(losses) == 8 and whole.ready and whole.progress == {}
    part = made()
    for lesson in part.learn(SOURCE, {}):
        if lesson.done == 5:
            break
    assert not part.ready
    weights, progress = copy.deepcopy(part.state_dict()), copy.deepcopy(part.progress)
    other = Autoencoder(SHAPE, LEVELS, **VALUES)  # whatever it begins with
    other.load_state_dict(weights)
    assert len(list(other.learn(SOURCE, progress))) == 3
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in whole.state_dict().items())
    assert not any(p.requires_grad for p in other.parameters())
    different = made()
    list(different.learn(SOURCE._replace(seed=4), {}))
    assert not torch.equal(different.shift, whole.shift)


def test_learning_lowers_its_own_bound_and_z_is_standardised() -> None:
    space = made(steps=60, lr=3e-3)
    x0, noise = to_unit(DATA), torch.randn(60, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def own() -> float:
        found = space.encode(x0, noise)
        plain = space.plain_nll(found.z)
        assert plain is not None
        return float((found.sum + plain).mean()) / 16 / math.log(2)

    before = own()
    list(space.learn(SOURCE, {}))
    assert own() < before - 0.5
    many = torch.cat(
        [space.encode(x0, torch.randn(60, 1, 2, 2, generator=torch.Generator().manual_seed(n))).z for n in range(50)]
    )
    assert float(many.mean()) == pytest.approx(0, abs=0.03)
    assert float(many.std()) == pytest.approx(1, abs=0.03)


def test_sizes() -> None:
    assert [most_halvings((1, n, n)) for n in (2, 6, 8, 28, 32, 64)] == [1, 1, 1, 2, 3, 4]
    assert made(shape=(3, 28, 28), halvings=None, channels=2).shape_of((3, 28, 28)) == (2, 7, 7)
    x0 = torch.zeros(2, 3, 12, 8)
    space = made(shape=(3, 12, 8), halvings=2)
    assert space.encode(x0, torch.zeros(2, 1, 3, 2)).z.shape == (2, 1, 3, 2)
    assert space.decode(torch.zeros(2, 1, 3, 2)).shape == x0.shape


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"halvings": 3}, r"space\.halvings=3 must be at least 1 and leave whole numbers of 4 x 4 pixels"),
        ({"shape": (1, 7, 7), "halvings": None}, r"space\.halvings=1 must"),
        ({"channels": 0}, r"space\.channels=0 must be at least 1"),
        ({"steps": 0}, r"space\.steps=0 must be at least 1"),
        ({"kl_weight": 0.0}, r"space\.kl_weight=0\.0 and"),
        ({"lr": -1.0}, r"space\.lr=-1\.0 must be positive"),
    ],
)
def test_values_that_cannot_be_are_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made(**changed)
    with pytest.raises(NotDefined, match="space=autoencoder takes pictures"):
        made(shape=(4,))

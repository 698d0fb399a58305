"""Keyed noise: a pure function of (seed, example, t, draw) that looks like independent normals."""

from __future__ import annotations

import math

import pytest
import torch

from difflab.bound.noise import key, normal, uniform


def words(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    index = torch.arange(n)
    return index, index % 7 + 1, index % 2


def test_noise_depends_on_its_key_and_on_nothing_else():
    index, t, draw = words(64)
    together = normal(key(3, index, t, draw), (3, 4, 5))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = normal(key(3, index[order], t[order], draw[order]), (3, 4, 5))
    assert torch.equal(shuffled, together[order])
    alone = normal(key(3, index[9:10], t[9:10], draw[9:10]), (3, 4, 5))
    assert torch.equal(alone[0], together[9])
    torch.manual_seed(1)
    assert torch.equal(normal(key(3, index, t, draw), (3, 4, 5)), together)


def test_every_word_of_the_key_matters():
    base = [5, 3, 2, 1]
    seen = {int(key(base[0], *(torch.tensor([w]) for w in base[1:])))}
    for place in range(4):
        for value in range(10, 500):
            changed = [*base[:place], value, *base[place + 1 :]]
            seen.add(int(key(changed[0], *(torch.tensor([w]) for w in changed[1:]))))
    swapped = [key(0, torch.tensor([a]), torch.tensor([b])) for a in range(30) for b in range(30)]
    assert len(seen) == 1 + 4 * 490 and len({int(k) for k in swapped}) == 900


def test_the_first_draws_never_change():
    """A recorded run's noise must be drawn again by every later version."""
    keys = key(0, torch.arange(3), torch.tensor([1, 2, 3]), torch.zeros(3, dtype=torch.int64))
    mask = (1 << 64) - 1

    def mix(x: int) -> int:  # SplitMix64's finaliser in Python integers
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    for row, (index, t) in enumerate([(0, 1), (1, 2), (2, 3)]):
        state = 0
        for word in (index, t, 0):
            state = mix((state * golden + word) & mask)
        assert int(keys[row]) & mask == state
        expected = []
        for pair in (1, 2):
            bits = mix((state + pair * golden) & mask)
            radius = math.sqrt(-2 * math.log(((bits >> 32) + 0.5) / 2**32))
            angle = 2 * math.pi * (bits & 0xFFFFFFFF) / 2**32
            expected += [radius * math.cos(angle), radius * math.sin(angle)]
        torch.testing.assert_close(normal(keys, (4,))[row], torch.tensor(expected), rtol=1e-6, atol=1e-7)
        assert float(uniform(keys)[row]) == ((mix(state) >> 11) + 0.5) / 2**53


N, DIMS = 4000, 101  # odd: the last pair is cut


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return normal(key(0, *words(N)), (DIMS,)).double()


def test_the_moments_are_a_standard_normals(noise):
    count = noise.numel()
    assert noise.shape == (N, DIMS) and bool(torch.isfinite(noise).all())
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = abs(float(noise.pow(power).mean()) - expected)
        assert error < 4.5 * math.sqrt(variance / count), power  # 4.5 standard errors


def test_the_distribution_function_is_the_normals(noise):
    values, _ = noise.flatten().sort()
    exact = torch.special.ndtr(values)
    steps = (torch.arange(len(values)) + 0.5) / len(values)
    assert float((exact - steps).abs().max()) * math.sqrt(len(values)) < 1.95  # Kolmogorov-Smirnov, 0.999 quantile


@pytest.mark.parametrize("function", [lambda x: x, torch.square], ids=["values", "squares"])
def test_neighbours_are_uncorrelated(noise, function):
    x = function(noise)
    x = (x - x.mean()) / x.std()
    for a, b in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1]), (x[:, 2:], x[:, :-2]), (x[7:], x[:-7])):
        assert abs(float((a * b).mean())) < 4.5 / math.sqrt(a.numel())  # 4.5 standard errors


@pytest.mark.parametrize("changed", ["seed", "index", "t", "draw"])
def test_streams_of_neighbouring_keys_are_uncorrelated(noise, changed):
    index, t, draw = words(N)
    other = {
        "seed": lambda: key(1, index, t, draw),
        "index": lambda: key(0, index + N, t, draw),
        "t": lambda: key(0, index, t + 1, draw),
        "draw": lambda: key(0, index, t, draw + 2),
    }[changed]()
    assert abs(float((noise * normal(other, (DIMS,)).double()).mean())) < 4.5 / math.sqrt(noise.numel())


def test_uniform_lies_strictly_between_0_and_1_and_is_flat():
    u = uniform(key(0, torch.arange(100_000)))
    assert u.dtype == torch.float64 and float(u.min()) > 0 and float(u.max()) < 1
    count = torch.histc(u, 100, 0, 1)
    assert float(((count - 1000) ** 2 / 1000).sum()) < 149  # 0.999 quantile of chi-squared, 99 degrees of freedom

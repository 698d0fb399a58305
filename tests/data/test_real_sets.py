"""The published files themselves, where this machine has them."""

import pytest

from difflab.errors import ConfigError

# references.md's figures came from smaller samples of the sets; these are exact for the splits (55,000 / 10,000).
FLOORS = {
    "mnist": {"uniform": 8, "per-pixel histogram": 1.689, "Gaussian": 5.294},
    "fashion_mnist": {"uniform": 8, "per-pixel histogram": 4.588, "Gaussian": 6.461},
}


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_splits_and_floors(make, name):
    try:
        data = make(name, download=False)
    except ConfigError as error:
        pytest.skip(str(error))
    assert (data.shape, data.levels) == ((1, 28, 28), 256)
    assert [len(split) for split in (data.train, data.val, data.test)] == [55_000, 5_000, 10_000]
    assert data.val.index[0] == 55_000 and data.test.index[-1] == 69_999
    assert data.floors() == pytest.approx(FLOORS[name], abs=0.002)

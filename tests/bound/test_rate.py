"""Rate and distortion from a ledger's columns; gaps filled from the neighbours."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from difflab.bound.ledger import COLUMNS, Ledger
from difflab.bound.rate import rate_distortion, table4
from difflab.bound.smooth import is_local, mse_of_x0, window_mean
from difflab.gaussian import BITS, NATS
from tests.analytic import NORMAL, cosine


def ledger_of(T: int, count: np.ndarray | None = None, unit=BITS, order: np.ndarray | None = None) -> Ledger:
    """Random terms on a cosine chain with the exact predictor's errors; t without a draw have no mse."""
    rng = np.random.default_rng(T)
    log_snr = cosine(T).log_snr.numpy()
    mse = NORMAL.posterior_var(cosine(T).level(torch.arange(1, T + 1))).mean(1).numpy()
    count = np.full(T, 40) if count is None else count
    mse = np.where(count > 0, mse, math.nan)
    nothing = np.full(T + 1, math.nan)
    columns = {name.format(u=unit.key): nothing for name in COLUMNS} | {
        "t": np.append(np.arange(1, T + 1), T),
        "term": np.array(["decoder_nll"] + ["transition_kl"] * (T - 1) + ["prior_kl"]),
        "log_snr_t": np.append(log_snr[1:], log_snr[-1]),
        unit.key: np.append(rng.exponential(size=T) / T, 0.01),
        "mse_x0": np.append(mse, math.nan),
        "count": np.append(count, 20),
    }
    if order is not None:
        columns = {name: values[order] for name, values in columns.items()}
    return Ledger(unit, columns, {})


@pytest.mark.parametrize("unit", [BITS, NATS])
@pytest.mark.parametrize("T", [1, 2, 40])
def test_the_rate_at_t_is_what_was_paid_for_x_t_and_the_distortion_what_is_not_known_then(T, unit):
    ledger = ledger_of(T, unit=unit)
    value, mse = ledger.columns[unit.key], ledger.columns["mse_x0"]
    columns = rate_distortion(ledger, 256)
    assert columns["t"].tolist() == list(range(T, 0, -1)) and columns["t"].dtype == np.int64
    for row, t in enumerate(range(T, 0, -1)):
        paid = value[T] + sum(value[u - 1] for u in range(t + 1, T + 1))  # row u - 1 of the ledger is L_{u-1}
        assert columns["rate"][row] == pytest.approx(paid, rel=1e-12)
        assert columns["step_rate"][row] == (value[t - 1] if t > 1 else 0)
        assert columns["distortion"][row] == pytest.approx(127.5 * math.sqrt(mse[t - 1]), rel=1e-12)
        assert columns["log_snr"][row] == ledger.columns["log_snr_t"][t - 1]
    assert columns["rate"][-1] + value[0] == pytest.approx(value.sum(), rel=1e-12)  # with L_0, the bound
    assert np.isnan(columns["rate_se"]).all()


def test_data_without_levels_have_their_own_unit_and_the_ledgers_rows_any_order():
    a, b = rate_distortion(ledger_of(9), None), rate_distortion(ledger_of(9), 3)
    np.testing.assert_array_equal(a["distortion"], b["distortion"])  # three levels: -1, 0, 1
    shuffled = rate_distortion(ledger_of(9, order=np.random.default_rng(0).permutation(10)), None)
    for name, values in a.items():
        np.testing.assert_allclose(shuffled[name], values)


def test_errors_given_by_t_stand_beside_their_rates():
    columns = rate_distortion(ledger_of(3), 17, rate_se=np.array([math.nan, 0.1, 0.2, 0.3]))
    assert columns["rate_se"].tolist() == [0.3, 0.2, 0.1]


def test_a_t_without_draws_borrows_its_neighbours_error_of_v():
    T, count = 30, np.full(30, 32)
    count[[10, 11, 29]] = 0  # t = 11, 12 and T
    ledger = ledger_of(T, count)
    mse, variance = ledger.columns["mse_x0"], 1 / (1 + np.exp(ledger.columns["log_snr_t"]))
    distortion = rate_distortion(ledger, None)["distortion"][::-1]
    for t, lenders in {11: [10], 12: [13], 30: [29]}.items():
        expected = math.sqrt(np.mean([mse[u - 1] / variance[u - 1] for u in lenders]) * variance[t - 1])
        assert distortion[t - 1] == pytest.approx(expected, rel=1e-12)
    drawn = count > 0
    np.testing.assert_allclose(distortion[drawn], np.sqrt(mse[:T][drawn]), rtol=1e-15)
    full = rate_distortion(ledger_of(T), None)["distortion"][::-1]
    np.testing.assert_allclose(distortion[[10, 11]], full[[10, 11]], rtol=0.1)  # close to what was not measured


def test_nothing_drawn_is_not_a_number():
    assert np.isnan(rate_distortion(ledger_of(4, np.zeros(4, int)), 17)["distortion"]).all()


@pytest.mark.parametrize("T, parts", [(1000, 10), (40, 10), (47, 10), (4, 10), (1, 10), (1000, 1)])
def test_the_chain_is_cut_into_equal_parts_whose_rates_add_up(T, parts):
    columns = rate_distortion(ledger_of(T), 256)
    table = table4(columns, parts)
    assert len(table["t"]) == min(T, parts) and table["t"][-1] == 1
    np.testing.assert_array_equal(table["reverse_steps"], T - table["t"] + 1)
    lengths = np.diff(table["reverse_steps"], prepend=0)
    assert lengths.sum() == T and np.ptp(lengths) <= 1
    np.testing.assert_allclose(np.cumsum(table["part_rate"]), table["rate"], rtol=1e-12)
    for k, t in enumerate(table["t"]):
        row = T - t
        assert table["rate"][k] == columns["rate"][row] and table["distortion"][k] == columns["distortion"][row]


def test_table_4_has_the_papers_rows():
    table = table4(rate_distortion(ledger_of(1000), 256))
    assert table["reverse_steps"].tolist() == list(range(100, 1001, 100))
    assert table["t"].tolist() == list(range(901, 0, -100))


@pytest.mark.parametrize("least", [1, 8, 50, 10**6])
def test_window_means_are_those_of_the_smallest_window(least):
    rng = np.random.default_rng(0)
    for _ in range(20):
        count = rng.integers(0, 4, 60) * (rng.random(60) < 0.5)
        values = [rng.normal(size=n) for n in count]
        if count[-1] >= least:
            count[-1], values[-1] = 0, values[-1][:0]  # a last t with enough draws has a test of its own
        mean = window_mean(np.array([v.sum() for v in values]), count, least)
        for centre in range(60):
            width = 0
            while True:
                held = np.concatenate(values[max(centre - width, 0) : centre + width + 1])
                if len(held) >= min(least, count.sum()):
                    break
                width += 1
            assert mean[centre] == pytest.approx(held.mean(), rel=1e-11)


def test_a_window_mean_ignores_what_has_no_draw_and_needs_one():
    total = np.array([math.nan, 3.0, math.nan, 8.0])
    np.testing.assert_allclose(window_mean(total, np.array([0, 1, 0, 2]), least=3), [11 / 3] * 4)
    np.testing.assert_allclose(window_mean(total, np.array([0, 1, 0, 2]), least=1), [3, 3, 3, 4])
    assert np.isnan(window_mean(total, np.zeros(4, int))).all()


def test_what_is_heavy_at_the_end_of_the_chain_is_lent_to_nobody():
    """t = 99 and 100 of every example, a few draws of the others, whose error of v is 1; at t = 100 it is 10,000."""
    count = np.array([0, *[4] * 98, 200, 200])
    log_snr = np.linspace(10, -20, 101)
    variance = 1 / (1 + np.exp(log_snr))
    mse = mse_of_x0(count * variance * np.array([*[1.0] * 100, 1e4]), count, log_snr)
    np.testing.assert_allclose(mse[1:], (variance * [*[1.0] * 100, 1e4])[1:], rtol=1e-12)
    local = is_local(count)
    assert local[99:].all() and local[50:99].all() and not local[1:10].any()  # as far as the others' draws go
    assert not is_local(np.array([0, *[0] * 98, 3, 200]))[95:99].any()
    everywhere = np.full(5, 40)
    np.testing.assert_array_equal(window_mean(np.arange(5) * 40.0, everywhere), np.arange(5))


def test_small_values_beside_huge_ones_keep_their_digits():
    total, count = np.array([0, 1e20, 1.0, 2.0]), np.array([0, 8, 8, 8])
    np.testing.assert_array_equal(window_mean(total, count), [1e20 / 8, 1e20 / 8, 1 / 8, 2 / 8])
    np.testing.assert_array_equal(window_mean(total, np.array([0, 8, 4, 4]), least=4), [1e20 / 8, 1e20 / 8, 0.25, 0.5])

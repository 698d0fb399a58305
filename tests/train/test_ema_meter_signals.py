"""The weight average, the per-t statistics of training, and signals as flags."""

from __future__ import annotations

import math
import os
import signal

import numpy as np
import pytest
import torch

from difflab.ranks import Ranks
from difflab.train.ema import Ema
from difflab.train.meter import Meter
from difflab.train.signals import Stop


def weights_over_time(decay: float, values: list[float]) -> list[float]:
    model = torch.nn.Linear(1, 1, bias=False)
    ema = Ema(model, decay)
    seen = []
    for n, value in enumerate(values):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update(model, n)
        seen.append(float(next(ema.module.parameters())))
    return seen


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_the_average_warms_up_by_min_decay_of_1_plus_n_over_10_plus_n(decay):
    values = [math.sin(k) + 2 for k in range(60)]
    expected = [values[0]]  # the first update copies
    for n, value in enumerate(values[1:], start=1):
        d = min(decay, (1 + n) / (10 + n))
        expected.append(d * expected[-1] + (1 - d) * value)
    assert weights_over_time(decay, values) == pytest.approx(expected, rel=1e-5)


def test_the_average_is_evaluated_without_dropout_and_never_trained():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)).train()
    ema = Ema(model, 0.9)
    x = torch.ones(3, 4)
    assert torch.equal(ema(x), ema(x)) and not ema(x).requires_grad
    assert model.training and all(p.requires_grad for p in model.parameters())


def test_the_meter_counts_and_averages_each_t_as_numpy_does():
    T, source = 6, np.random.default_rng(0)
    meter = Meter(T, "cpu")
    t, nats = source.integers(1, T, 200), source.normal(2, 3, 200)  # t = T is never drawn
    for part in np.array_split(np.arange(200), 7):
        values = torch.tensor(nats[part])
        meter.add(torch.tensor(t[part]), torch.ones(len(part)).double(), values, values)
    count, mean, se = meter.read_per_t()
    for u in range(1, T):
        mine = nats[t == u]
        assert int(count[u - 1]) == len(mine)
        assert float(mean[u - 1]) == pytest.approx(mine.mean(), rel=1e-12)
        assert float(se[u - 1]) == pytest.approx(mine.std(ddof=1) / math.sqrt(len(mine)), rel=1e-9)
    assert int(count[-1]) == 0 and math.isnan(float(mean[-1])) and math.isnan(float(se[-1]))
    assert int(meter.read_per_t()[0].sum()) == 0  # reading starts anew


def test_the_meters_running_bound_is_unbiased_under_any_timestep_probabilities():
    """E over t of the window's estimate = sum over t: enumerated in proportion to p_t, so exactly."""
    p = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    f = torch.tensor([3.0, -1.0, 7.0, 0.5], dtype=torch.float64)
    t = torch.repeat_interleave(torch.arange(1, 5), (16 * p).long())
    meter = Meter(4, "cpu")
    for part in t.split(3):
        iw = 1 / (4 * p[part - 1])
        meter.add(part, iw, f[part - 1].float(), iw * 2)
    nats, loss = meter.read_window()
    assert nats == pytest.approx(float(f.sum()), rel=1e-12)
    assert loss == pytest.approx(2.0, rel=1e-12)
    assert meter.read_window() == (0.0, 0.0)


def test_the_meter_goes_on_from_its_state():
    a, b = Meter(3, "cpu"), Meter(3, "cpu")
    values = torch.tensor([1.0, 5.0]).double()
    a.add(torch.tensor([1, 3]), torch.ones(2), values, values)
    b.load_state_dict({k: v.clone() for k, v in a.state_dict().items()})
    for meter in (a, b):
        meter.add(torch.tensor([1, 2]), torch.ones(2), values, values)
    assert a.read_window() == b.read_window()
    for x, y in zip(a.read_per_t(), b.read_per_t(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_only_sets_a_flag_until_the_loop_reads_it(number, code):
    before = signal.getsignal(number)
    with Stop() as stop:
        stop.check()
        assert not stop.requested
        os.kill(os.getpid(), number)
        stop.check()  # nobody has taken notice yet
        stop.agree(Ranks())
        assert stop.requested
        with pytest.raises(SystemExit) as caught:
            stop.check()
        assert caught.value.code == code
    assert signal.getsignal(number) is before


def test_a_launchers_own_signal_is_handed_on_after_the_save_and_a_sigterm_does_not_come_between():
    """submitit's way to put a job back into the queue: SLURM sends SIGTERM besides."""
    called = []

    def requeue(number, frame):
        called.append(number)
        raise SystemExit(7)

    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        with Stop() as stop:
            for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            stop.agree(Ranks())
            assert stop.requested and not called
            with pytest.raises(SystemExit) as caught:
                stop.check()
            assert caught.value.code == 7 and called == [signal.SIGUSR2]
        assert signal.getsignal(signal.SIGUSR2) is requeue
        with Stop() as late:  # the other order: the job goes back into the queue, too
            for number in (signal.SIGTERM, signal.SIGUSR2):
                os.kill(os.getpid(), number)
            late.agree(Ranks())
            with pytest.raises(SystemExit, match="7"):
                late.check()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_signal_that_nobody_has_a_handler_for_keeps_its_meaning():
    with Stop():
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL

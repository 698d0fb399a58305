"""A checkpoint measured: files that agree with each other, a fit that is made once, an interruption that costs a batch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from difflab import tables
from difflab.bound.chain import optimal_times
from difflab.bound.optimal import load
from difflab.errors import ConfigError
from difflab.model.unet import UNet
from difflab.sampler.ancestral import Ancestral
from difflab.task import evaluate, sample, train
from tests.analytic import NORMAL, cosine, diffusion_of
from tests.test_combinations import config_of

TINY = [
    "model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16", "schedule.T=30", "trainer.steps=4",
    "trainer.batch_size=16", "trainer.log_every=2", "trainer.val_every=4", "bound.examples=40", "bound.times=8", "bound.exact_steps=3",
    "validation.examples=6", "preview.steps=2", "preview.count=4", "sampler.steps=optimal:5", "sampler.count=4", "tracker=none",
    "fit.examples=20", "chains.verify=[4,10]", "chains.examples=10",
]  # fmt: skip
WITHOUT_DESIGN = [line for line in TINY if not line.startswith("bound.")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    train.run(config_of(TINY), directory)
    return directory


def test_a_runs_tables_add_up_to_its_result(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    for suffix, figures in (("", result), ("-clipped", result["clipped"])):
        stem = f"step_00000004{suffix}"
        ledger = tables.load(run / "bound" / f"{stem}.csv")
        variances = tables.load(run / "bound" / f"{stem}-variances.csv")
        assert set(figures["variances"]) == {"own", "fixed_beta", "fixed_beta_tilde", "optimal"}
        for name, totals in figures["variances"].items():
            assert variances[name].sum() == pytest.approx(totals["bpd"], rel=1e-9)
        assert figures["variances"]["own"]["bpd"] == pytest.approx(figures["bpd"], rel=1e-12)
        assert figures["variances"]["optimal"]["bpd"] == figures["bpd_optimal_variance"]
        np.testing.assert_array_equal(variances["own"], ledger["bpd"])
        bands = tables.load(run / "bound" / f"{stem}-bands.csv")
        total = sum(bands[f"band_{k}"] for k in range(8))
        np.testing.assert_allclose(total, ledger["mean_error_bpd"][1:-1].astype(float), rtol=1e-6, atol=1e-12)
        rate = tables.load(run / "bound" / f"{stem}-rate_distortion.csv")
        assert rate["t"].tolist() == list(range(30, 0, -1))
        assert rate["rate"][-1] == pytest.approx(figures["bpd"] - figures["decoder_nll"], rel=1e-9)
        assert rate["rate_se"][0] == pytest.approx(figures["prior_kl_se"], rel=1e-6)
        chains = tables.load(run / "bound" / f"{stem}-chains.csv")
        whole = (chains["steps"] == 30) & (chains["variance"] == "fixed_beta") & (chains["chain"] == "even")
        # every term of the whole chain, but the drawn ones lend each other their errors
        assert chains["bpd"][whole][0] == pytest.approx(figures["variances"]["fixed_beta"]["bpd"], rel=0.05)
    assert result["nfe_verify"] == 10 * 2 * (4 + 10)
    assert result["nfe_fit"] == 20 * 30 + 20
    for name in ("bound_per_t", "bound_per_log_snr", "variances", "rate_distortion", "chains", "bands"):
        assert (run / "figures" / f"{name}.png").stat().st_size > 0


def test_only_the_designs_own_clip_mode_is_verified(run: Path) -> None:
    done = {
        suffix: np.isfinite(tables.load(run / "bound" / f"step_00000004{suffix}-chains.csv")["evaluated"].astype(float))
        for suffix in ("", "-clipped")
    }
    assert done[""].sum() == 2 * (3 + 1 + 1 + 1)  # even: three variances and its own; optimal: one and its own
    assert not done["-clipped"].any()


def evaluated(run: Path, *overrides: str) -> dict[str, Any]:
    return evaluate.run(config_of([*WITHOUT_DESIGN, f"run={run}", *overrides]), run)


def test_a_fit_is_made_once_for_the_same_weights(run: Path) -> None:
    design = ["bound=exhaustive", "bound.examples=4"]
    assert evaluated(run, *design)["nfe_fit"] == 0  # training's own end has made it
    assert evaluated(run, *design, "fit.examples=10")["nfe_fit"] == 10 * 30 + 10
    assert evaluated(run, *design)["nfe_fit"] == 20 * 30 + 20
    table = run / "bound" / "step_00000004-fit.csv"
    whole = table.read_text()
    table.write_text(
        whole[:-3] + str((int(whole[-3]) + 1) % 10) + whole[-2:]
    )  # one digit: read, and not what was fitted
    assert evaluated(run, *design)["nfe_fit"] == 20 * 30 + 20
    assert table.read_text() == whole


def test_an_evaluation_in_bf16_knows_what_that_changed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All terms are evaluated again, since they are few, so the shift is exactly what separates the two bounds."""
    design = ["bound=stratified", "bound.examples=30", "bound.times=8", "bound.exact_steps=3"]
    plain, fast = evaluated(run, *design), evaluated(run, *design, "precision.evaluate=bf16")
    assert (plain["precision"], fast["precision"]) == ("fp32", "bf16")
    assert fast["files"] != plain["files"]
    assert "bpd_precision_shift" not in plain
    assert (plain["nfe_fit"], fast["nfe_fit"]) == (0, 20 * 30 + 20)  # fitted in the precision that it judges
    assert 0 < abs(fast["bpd_precision_shift"]) < 0.01
    assert fast["bpd"] - plain["bpd"] == pytest.approx(fast["bpd_precision_shift"], abs=1e-6)
    assert fast["nfe_precision"] == 30 * (3 + 8 + 1)
    assert f"moves the bound by {fast['bpd_precision_shift']:+.5f} ± " in capsys.readouterr().out


@pytest.mark.parametrize("design", ["importance", "importance_per_example"])
def test_every_design_measures_a_run(run: Path, design: str) -> None:
    keys = ["bound.examples=40", "bound.pilot_examples=4", "bound.pilot_times=10"]
    keys += ["bound.times=3", "bound.exact_steps=2"] if design == "importance_per_example" else []
    result = evaluated(run, f"bound={design}", *keys)
    assert result["nfe"] == 40 * (2 + 3 + 1 if design == "importance_per_example" else 1)
    assert result["nfe_pilot"] == 4 * 10
    saved = json.loads(Path(f"{result['files']}.json").read_text())
    assert saved["bpd"] == result["bpd"]
    assert saved["bound"]["method"] == "importance"
    full = evaluated(run, "bound=exhaustive", "bound.examples=40")
    noise = 5 * result["bpd_se"]  # the same examples and a common noise: far less, but the terms of one t are few
    assert abs(result["bpd"] - full["bpd"]) < noise


def test_a_target_is_reached_and_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluated(run, "bound=stratified", "bound.examples=null", "bound.target_se=0.08")
    assert result["bpd_se"] <= 0.08
    assert result["target_reached"] is True
    assert "the target of 0.08 is reached" in capsys.readouterr().out
    assert result["examples"] < 360


def test_an_interrupted_evaluation_goes_on_and_equals_the_uninterrupted_one(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    design = [
        "bound=importance_per_example",
        "bound.examples=40",
        "bound.times=3",
        "bound.exact_steps=2",
        "bound.pilot_times=6",
    ]
    design += ["bound.batch_size=20", "bound.seed=4"]
    whole = evaluated(run, *design)
    files = {path.name: path.read_bytes() for path in (run / "bound").glob("*importance*.csv")}
    forward, calls = UNet.forward, [0]

    def dying(self, *args):
        calls[0] += 1
        if calls[0] == 12:
            raise SystemExit(143)
        return forward(self, *args)

    monkeypatch.setattr(UNet, "forward", dying)
    with pytest.raises(SystemExit):
        evaluated(run, *design)
    assert "the same command goes on" in capsys.readouterr().err
    left = next((run / "bound").glob(".*.rows")).stat().st_size
    assert left > 0
    calls[0] = 100
    again = evaluated(run, *design)
    assert calls[0] - 100 < 12 + 2 * 10 * (4 + 10) // 20 + 4  # no pilot, not all of the 12 batches
    assert {k: v for k, v in again.items() if k != "nfe_pilot"} == {k: v for k, v in whole.items() if k != "nfe_pilot"}
    assert {path.name: path.read_bytes() for path in (run / "bound").glob("*importance*.csv")} == files
    assert not list((run / "bound").glob(".*"))


def test_optimal_steps_are_those_of_the_fit(run: Path) -> None:
    fitted = load(run / "bound" / "step_00000004-fit.csv")[True]
    lab = train.assemble(config_of(TINY))
    times = sample.chain_of({True: fitted}, lab.sampler)(5)
    np.testing.assert_array_equal(times.numpy(), optimal_times(fitted.log_snr, fitted.mse_x0, 5))
    path = sample.run(config_of([*TINY, f"run={run}"]), run)["samples"]
    assert path.endswith("step_00000004-ancestral-optimal-5.png")
    other = sample.run(config_of([*TINY, f"run={run}", "sampler.steps=5"]), run)["samples"]
    assert Path(path).read_bytes() != Path(other).read_bytes()


def test_a_sampler_visits_the_chain_it_is_given() -> None:
    seen = []
    diffusion = diffusion_of(NORMAL.predict, cosine(30))
    network = diffusion.model

    def watching(x_t, log_snr, cond):
        seen.append(float(log_snr[0]))
        return network(x_t, log_snr, cond)

    from dataclasses import replace

    import torch

    sampler = Ancestral(steps="optimal:3", count=2, clip_x0=False, guidance=1.0)
    sampler.sample(replace(diffusion, model=watching), (2,), 0, chain=lambda steps: torch.tensor([1, 7, 30])[:steps])
    np.testing.assert_allclose(seen, diffusion.schedule.log_snr[[30, 7, 1]].float())
    with pytest.raises(ValueError, match="needs the chain"):
        sampler.sample(diffusion, (2,), 0)


@pytest.mark.parametrize("steps", ["optimal", "optimal:", "optimal:1", "optimal:-3", "best:5", "optimal:5.0"])
def test_other_words_for_steps_are_refused(steps: str) -> None:
    with pytest.raises(ConfigError, match=f"sampler.steps={steps} must be"):
        Ancestral(steps=steps, count=1, clip_x0=False, guidance=1.0)


def test_continuous_data_have_variances_and_chains_but_no_bands(tmp_path: Path) -> None:
    overrides = [line for line in TINY if not line.startswith("model.")]
    overrides += ["data=swiss_roll", "model.width=16", "model.embedding=16", "sampler.steps=optimal:5"]
    result = train.run(config_of(overrides), tmp_path)
    best = result["variances"]["optimal"]["nats_per_dim"]
    assert best == result["nats_per_dim_optimal_variance"]
    assert result["information_gain"]["ceiling"] == pytest.approx(-2 * result["floors"]["entropy"] / math.log(2))
    assert not (tmp_path / "bound" / "step_00000004-bands.csv").exists()
    chains = tables.load(tmp_path / "bound" / "step_00000004-chains.csv")
    claimed = np.isfinite(chains["nats_per_dim"].astype(float))
    assert claimed[(chains["variance"] != "own") & (chains["steps"] == 30)].all()
    assert not claimed[chains["variance"] == "own"].any()


def test_continuous_pictures_have_bands_and_bits_over_a_gaussian(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["data.size=8", "data.train_size=64", "data.val_size=16", "data.test_size=16"]
    result = train.run(config_of([*TINY, "data=dead_leaves", *sizes]), tmp_path)
    assert (tmp_path / "bound" / "step_00000004-bands.csv").exists() and (tmp_path / "samples" / "final.png").exists()
    gain, printed = result["information_gain"], capsys.readouterr().out
    deviation = math.sqrt(1 / 3 + (2 / 255) ** 2 / 12)
    expected = math.log2(deviation) - result["nats_per_dim"] / math.log(2)
    assert gain["K"] == pytest.approx(expected) and gain["per"] == "pixel" and gain["ceiling"] is None
    assert f"bits/pixel: K = {gain['K']:.4f} ± {gain['K_se']:.4f}, K - L_null" in printed
    assert json.loads((tmp_path / "result.json").read_text())["information_gain"] == gain


def test_rows_are_kept_until_the_result_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while it samples, a run that goes on evaluates no term again."""
    draw = train.draw

    def stopped(lab, diffusion, sampler, chain, on_step=None):
        if sampler is lab.sampler:
            raise SystemExit(143)
        return draw(lab, diffusion, sampler, chain, on_step)

    monkeypatch.setattr(train, "draw", stopped)
    with pytest.raises(SystemExit):
        train.run(config_of(TINY), tmp_path)
    assert len(list((tmp_path / "bound").glob(".*.rows"))) == 1
    monkeypatch.setattr(train, "draw", draw)
    rows = []
    forward = UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, x, *rest: rows.append(len(x)) or forward(self, x, *rest))
    result = train.run(config_of([*TINY, "resume=auto"]), tmp_path)
    chains, samples, forecast = result["nfe_verify"], 4 * 5, 4 * 16
    assert sum(rows) == chains + samples + forecast
    assert not list((tmp_path / "bound").glob(".*"))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("chains.examples=0", "chains.examples=0"), ("chains.verify=[1,10]", "chains.verify holds 1"),
        ("sampler.steps=optimal:31", None), ("preview.steps=optimal:20", None),
    ],
)  # fmt: skip
def test_chains_are_judged_before_any_work(override: str, key: str | None) -> None:
    if key is None:
        train.assemble(config_of([*TINY, override]))  # longer than T means T
    else:
        with pytest.raises(ConfigError, match=key.replace("[", r"\[")):
            train.assemble(config_of([*TINY, override]))


def test_a_chain_too_long_for_its_candidates_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="optimal chain of 1100 steps"):
        train.assemble(config_of([*TINY, "schedule.T=1200", "sampler.steps=optimal:1100"]))


def test_validation_by_importance_runs_its_pilot_on_other_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = train.assemble(
        config_of([*TINY, "bound@validation=importance", "validation.pilot_examples=3", "validation.pilot_times=8"])
    )
    seen, looked_at = [], []
    examples = type(lab).examples

    def watched(self, split):
        looked_at.append(split.name)
        return examples(self, split)

    monkeypatch.setattr(type(lab), "examples", watched)
    estimate = evaluate.validate(lab, lab.diffusion, lab.data.val, lambda done, total: seen.append(total))
    assert looked_at == ["train", "val"]
    assert seen[0] == 3 * 8
    assert estimate.design.p is not None
    assert estimate.examples == 6


def test_measurements_by_other_designs_lie_side_by_side() -> None:
    names = {
        evaluate.design_name(config_of(["bound=importance", *values]), precision, {"name": "discretized_gaussian"})
        for values in (
            [],
            ["bound.seed=1"],
            ["bound.draws=2"],
            ["bound.target_se=0.1"],
            ["bound.batch_size=7"],
            ["decoder=categorical"],
        )
        for precision in ("fp32", "bf16")
    }
    assert len(names) == 10  # the batch size changes no row
    assert all(name.startswith("importance-") for name in names)

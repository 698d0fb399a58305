"""difflab.load: the numbers of the command line, one sentence for what cannot be done, and a process left as it was."""

from __future__ import annotations

import inspect
import json
import math
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch

import difflab
from difflab.config.of_run import OfRun
from difflab.errors import ConfigError
from difflab.task import evaluate, sample
from tests.export.conftest import made
from tests.export.test_round_trip import KINDS

DESIGN = ["bound=exhaustive", "bound.examples=5", "bound.draws=2"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("api") / "run", *KINDS["pictures"], "parameterization=v")[2]


@pytest.fixture(scope="module")
def run(path: Path) -> difflab.Run:
    return difflab.load(path)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> difflab.Run:
    return difflab.load(made(tmp_path_factory.mktemp("told") / "run", *KINDS["classes"])[2])


def same(bound: difflab.Bound, result: dict[str, Any]) -> None:
    """All figures of the bound; the cost of what only the command line does is its own."""
    for name in (
        "bpd",
        "prior_kl",
        "transition_kl",
        "decoder_nll",
        "mean_error",
        "variance_mismatch",
        "bpd_optimal_variance",
    ):
        assert bound[name] == result[name] and bound[f"{name}_se"] == result[f"{name}_se"], name
    for name in ("variances", "floors", "nfe", "examples", "split_sha256", "unit", "clip_x0", "T", "data"):
        assert bound[name] == result[name], name
    assert bound["clipped"] == {name: result["clipped"][name] for name in bound["clipped"]}


def test_the_bound_is_that_of_task_evaluate(path: Path, run: difflab.Run, tmp_path: Path) -> None:
    assert not run.result
    evaluate.run(OfRun(path).config(*DESIGN), tmp_path)
    (file,) = (path / "bound").glob("step_00000003-exhaustive-????.json")
    result = json.loads(file.read_text())
    bound = run.bound("exhaustive", examples=5, draws=2, optimal_variance=True)
    same(bound, result)
    assert bound["bpd_se_noise"] == result["bpd_se_noise"] and bound["step"] == result["step"] == 3
    assert bound.ledger.columns["bpd"].sum() == pytest.approx(bound.value)
    assert f"{bound.value:.4f}" in str(bound) and "bits/dim" in repr(bound)
    assert difflab.load(path, *DESIGN).bound(draws=2).value == bound.value
    assert difflab.load(path / "checkpoints" / "step_00000003").result["bpd"] == bound.value


def test_without_the_fit_nothing_else_changes(run: difflab.Run) -> None:
    with_fit, without = run.bound(examples=3, optimal_variance=True), run.bound(examples=3)
    assert with_fit.value == without.value and set(with_fit["variances"]) - set(without["variances"]) == {"optimal"}
    assert "bpd_optimal_variance" not in without


def test_samples_are_those_of_task_sample_in_the_datas_units(path: Path, run: difflab.Run, tmp_path: Path) -> None:
    from difflab.figure.sample import sample_grid

    x = run.sample()
    assert x.dtype is torch.uint8 and x.shape == (4, 1, 8, 8)
    shown = sample_grid(run.data.to_pixels(run.data.to_unit(x)), tmp_path / "again.png")
    drawn = sample.run(OfRun(path).config(), tmp_path)["samples"]
    pictures = [np.rint(255 * matplotlib.image.imread(file)) for file in (shown, drawn)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 255 / 16 / 2 + 1  # but for the rounding to a level
    assert torch.equal(x, run.sample(4, seed=0)) and not torch.equal(x, run.sample(4, seed=1))
    assert run.sample(2, steps=None, sampler="ddim", eta=0.5).shape == (2, 1, 8, 8)
    assert run.sample(2, steps="optimal:4").shape == (2, 1, 8, 8)


def test_the_bound_of_given_examples(run: difflab.Run) -> None:
    x = run.data.test.x[torch.arange(30)]
    every = run.log_likelihood_bound(x, design="exhaustive", draws=3)
    assert every.nats == pytest.approx(sum(every.terms.values())) and set(every.terms) == {
        "prior_kl",
        "transition_kl",
        "decoder_nll",
    }
    assert every.log_likelihood == pytest.approx(-every.nats) and every.per_dim == pytest.approx(
        every.nats / 64 / math.log(2)
    )
    bound = run.bound("exhaustive", examples=30, draws=3)
    assert every.per_dim.mean() == pytest.approx(
        bound.value, abs=5 * bound["bpd_se_noise"]
    )  # other noise, same examples
    assert every.per_dim_se.mean() / math.sqrt(30) == pytest.approx(bound["bpd_se_noise"], rel=0.5)
    for same in (x[:3].numpy(), x[:3].double(), x[:3].long(), np.asarray(x[:3]).tolist()):
        few = run.log_likelihood_bound(same, design="exhaustive", draws=3)
        assert few.nats == pytest.approx(every.nats[:3], rel=1e-5)  # whatever else was asked about
    assert run.log_likelihood_bound(x[0], design="exhaustive", draws=3).nats == pytest.approx(every.nats[:1], rel=1e-5)
    assert np.isnan(run.log_likelihood_bound(x[:2], draws=1).se).all()


def test_one_step_of_the_chain(run: difflab.Run) -> None:
    x, T = run.data.test.x[torch.arange(3)], run.T
    x_1, x_T = run.noised(x, 1), run.noised(x, torch.tensor([T, T, 1]))
    assert torch.equal(x_1[2], x_T[2])
    level = run.diffusion.schedule.level(torch.ones(3, dtype=torch.int64))
    assert float((x_1 - run.data.to_unit(x)).abs().max()) < 6 * float(level.sigma[0])
    reading, raw = run.predict(x_1, 1), run.raw(x_1, 1)
    alpha, sigma = float(level.alpha[0]), float(level.sigma[0])
    assert raw.shape == (3, 2, 8, 8) and not raw.requires_grad
    torch.testing.assert_close(reading.x0_hat(), alpha * x_1 - sigma * raw[:, :1])  # v
    assert torch.equal(
        run.diffusion(x_1, run.diffusion.schedule.step(torch.ones(3, dtype=torch.int64))).x0_hat(), reading.x0_hat()
    )


def test_labels_are_told(told: difflab.Run) -> None:
    x = told.data.test.x[torch.arange(8)]
    label = told.data.test.label[:8]
    right = told.log_likelihood_bound(x, label, design="exhaustive", draws=1)
    assert (
        right.nats.tolist() == told.log_likelihood_bound(x, label.tolist(), design="exhaustive", draws=1).nats.tolist()
    )
    with torch.no_grad():  # an untrained network listens to nobody
        told.diffusion.model.conditioning.label.weight.normal_()  # type: ignore[union-attr]
        told.diffusion.model.out.weight.normal_()  # type: ignore[union-attr]
    a, b = (told.sample(4, labels=k, seed=3) for k in (0, 1))
    assert not torch.equal(a, b) and torch.equal(a, told.sample(4, labels=[0, 0, 0, 0], seed=3))
    assert torch.equal(told.sample(3, seed=3), told.sample(3, labels=[0, 1, 2], seed=3))
    x_t = told.noised(x, 5)
    assert not torch.equal(told.predict(x_t, 5, 0).x0_hat(), told.predict(x_t, 5, 1).x0_hat())


X = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run: run.bound("exhaustiv"), r"bound=exhaustiv: there is no such option; .*\(did you mean bound=exhaustive\?\)"),
        (lambda run: run.bound(exampels=3), r"there is no key bound\.exampels"),
        (lambda run: run.bound(examples=0), r"bound\.examples=0 must be at least 1"),
        (lambda run: run.bound(examples="many"), r"bound\.examples=many must be"),
        (lambda run: run.bound(split="dev"), "split=dev is not one of test, val, train"),
        (lambda run: run.sample(0), r"sampler\.count=0 must be at least 1"),
        (lambda run: run.sample(2, steps=0), r"sampler\.steps=0 must be at least 1"),
        (lambda run: run.sample(2, seed=1 << 70), "seed=.* must be an integer of at most 63 bits"),
        (lambda run: run.sample(2, sampler="euler"), "sampler=euler: there is no such option"),
        (lambda run: run.sample(2, labels=3), r"this network is told none \(model.num_classes=null\)"),
        (lambda run: run.log_likelihood_bound(X, 3), "this network is told none"),
        (lambda run: run.log_likelihood_bound(X[:, 0]), r"x has shape \[2, 8, 8\]: give \[N, 1, 8, 8\]"),
        (lambda run: run.log_likelihood_bound(X[:0]), r"x has shape \[0, 1, 8, 8\]"),
        (lambda run: run.log_likelihood_bound(X.float() + 0.5), r"x holds 0\.5: these data are whole numbers, the grey levels or states 0\.\.16"),
        (lambda run: run.log_likelihood_bound(X + 17), "x holds 17: these data"),
        (lambda run: run.log_likelihood_bound(X.float() * math.nan), "x holds nan: these data"),
        (lambda run: run.log_likelihood_bound(np.array(["a"])), "x is no array of numbers"),
        (lambda run: run.log_likelihood_bound(X, examples=3), "examples=3: all given examples are evaluated; leave it out"),
        (lambda run: run.noised(X, 0), r"t=0: give a whole number of 1\.\.12"),
        (lambda run: run.predict(X.float(), 13), r"t=13: give a whole number of 1\.\.12"),
    ],
)  # fmt: skip
def test_wrong_input_gets_a_sentence(call: Any, words: str, run: difflab.Run) -> None:
    with pytest.raises(difflab.ConfigError, match=words) as caught:
        call(run)
    assert "\n" not in str(caught.value) and str(caught.value).endswith((".", "?"))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "labels: this network is told each example's label; give one of 0..2 for each, or -1 for unknown"),
        ([0, 3], "labels hold 3: they run from 0 to 2"),
        ([0, -2], "labels hold -2"),
        ([0], r"labels are torch.int64 \[1\]: give 2 whole numbers, or one for all"),
        ([0.5, 1.0], r"labels are torch.float32 \[2\]"),
    ],
)  # fmt: skip
def test_wrong_labels_get_a_sentence(labels: Any, words: str, told: difflab.Run) -> None:
    with pytest.raises(ConfigError, match=words):
        told.log_likelihood_bound(told.data.test.x[torch.arange(2)], labels)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["schedule.T=7"], r"schedule\.T=7 cannot be changed here: data, chain and model come from the run"),
        (["trainer.stepz=7"], r"there is no key trainer\.stepz"),
        (["task=train"], "task=train is for the command line; leave it out"),
        (["hydra.run.dir=x"], r"hydra\.run\.dir=x is for the command line"),
        (["device=tpu"], "device=tpu cannot be used here"),
        (["decoder.name=os.path"], r"decoder\.name=os\.path is outside the registry"),
        (["nothing"], "nothing: an override is key=value"),
    ],
)  # fmt: skip
def test_wrong_overrides_get_a_sentence(overrides: list[str], words: str, path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        difflab.load(path, *overrides)


def test_what_is_no_run_gets_a_sentence(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="source=.*nowhere: there is no such directory"):
        difflab.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"is no run: it has no \.hydra/config\.yaml"):
        difflab.load(tmp_path)
    shutil.copytree(path / ".hydra", tmp_path / ".hydra")
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        difflab.load(tmp_path)


def test_nothing_of_the_process_is_changed(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.global_hydra import GlobalHydra

    def state() -> dict[str, Any]:
        files = sorted(str(file) for file in (*tmp_path.rglob("*"), *path.rglob("*")))
        return {
            "torch": torch.get_rng_state().tolist(), "numpy": np.random.get_state()[1].tolist(), "threads": torch.get_num_threads(),
            "dtype": torch.get_default_dtype(), "grad": torch.is_grad_enabled(), "hydra": GlobalHydra.instance().is_initialized(),
            "signals": [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)], "files": files,
            "running": threading.active_count(), "tf32": torch.backends.cudnn.allow_tf32, "argv": list(sys.argv), "cwd": Path.cwd(),
        }  # fmt: skip

    monkeypatch.chdir(tmp_path)
    before = state()
    run = difflab.load(path)
    run.bound(examples=2, optimal_variance=True)
    run.sample(2, steps=2)
    run.log_likelihood_bound(X)
    run.predict(run.noised(X, 3), 3)
    assert state() == before


def test_a_call_says_nothing(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    run = difflab.load(path)
    run.bound(examples=2, on_batch=lambda done, total: seen.append((done, total)))
    run.sample(2, steps=2)
    assert capfd.readouterr() == ("", "") and seen[-1][0] == seen[-1][1]


def test_importing_difflab_imports_nothing_heavy_and_offers_what_it_has() -> None:
    code = (
        "import difflab, sys; assert not {'torch', 'numpy', 'hydra', 'omegaconf', 'yaml', 'wandb'} & set(sys.modules)\n"
        "assert {'load', 'Run', 'ConfigError'} <= set(dir(difflab)) and 'torch' not in sys.modules\n"
        "difflab.ConfigError; assert 'torch' not in sys.modules\n"
        "assert not hasattr(difflab, 'nothing'); from difflab import cli"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in difflab.__all__:
        assert getattr(difflab, name).__doc__
    for name, method in inspect.getmembers(difflab.Run, inspect.isfunction):
        if not name.startswith("_"):
            assert method.__doc__, name
            assert all(p.annotation is not p.empty for p in list(inspect.signature(method).parameters.values())[1:]), (
                name
            )

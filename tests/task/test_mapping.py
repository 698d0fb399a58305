"""task=mapping on every kind of data, and the report that makes what a run lacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from difflab.assemble import assemble
from difflab.bound.estimator import encoded
from difflab.bound.noise import key, normal
from difflab.config.inherit import frozen
from difflab.errors import ConfigError
from difflab.mapping import record
from difflab.mapping.walk import shortened
from difflab.task import mapping, report
from difflab.task.sample import NOISE_SEED
from difflab.train import checkpoint
from difflab.train.lessons import lessons
from tests.task.test_tasks import TINY
from tests.test_combinations import TINY as MODELS
from tests.test_combinations import config_of

TASK = {"levels": 5, "walk": 8, "count": 3}
MLP = [*MODELS["mlp"], "tracker=none"]
KINDS = {
    "digits": [*TINY, "schedule.T=30"],
    "digits to zero": [*TINY, "schedule.T=30", "schedule.zero_terminal=true"],
    "one step": [*TINY, "schedule.T=1"],
    "deterministic": [*TINY, "sampler=ddim", "sampler.steps=4"],
    "categorical": [*TINY, "decoder=categorical", "sampler.steps=4"],
    "continuous pictures": [*TINY, "data=dead_leaves", "data.train_size=64", "data.val_size=8", "data.test_size=8", "decoder=gaussian"],
    "points": [*MLP, "data=swiss_roll", "schedule.T=30"],
    "states": [*TINY, "process=categorical", "schedule.T=30"],
    "masks": [*TINY, "process=absorbing", "schedule.T=30"],
    "learned schedule": [*TINY, "schedule=learned", "schedule.T=30"],
    "continuous time": [*TINY, "schedule.T='inf'", "strata=30", "variance=fixed_beta"],
    "another space": [*MLP, "space=pca", "space.k=5", "schedule.T=30"],
    "one coordinate": [*MLP, "data=gaussian", "data.dims=1", "data.condition=1.0", "schedule.T=30"],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_fits_together(kind: str) -> None:
    lab = assemble(config_of(KINDS[kind]))
    if not (space := lab.diffusion.space).ready:
        list(space.learn(lessons(lab.data.train.x, lab.data.to_unit, lab.device, 0), {}))
    arrays = mapping.seen(lab, lab.diffusion, TASK)
    T, t = lab.diffusion.schedule.T, arrays["t"]
    shape = lab.data.shape
    kept = (3, *shape) if len(shape) == 3 else (3, min(2, shape[0]))
    assert t[0] == min(1, T) or lab.sampler.steps == 1
    assert t[-1] == T
    assert len(t) <= 5
    for name, levels in (("forward", len(t) + 1), ("reverse", len(t) + 1), ("x0_hat", len(t))):
        assert arrays[name].shape == (levels, *kept)
    steps = min(8, lab.sampler.length(lab.diffusion.schedule))
    assert arrays["visited"] == steps
    few = lab.examples(lab.data.test).first(3)
    show = mapping.display(lab)
    z = encoded(space, few, slice(None), lab.bound.seed, "cpu").z
    assert np.array_equal(arrays["forward"][0], show(space.decode(z)))
    sampler = shortened(lab.sampler, 8, 3)
    drawn = sampler.sample(lab.computing(lab.diffusion, "sample"), lab.shape, NOISE_SEED)
    assert np.array_equal(arrays["reverse"][0], show(space.decode(drawn)))
    spectra = len(shape) == 3 and lab.diffusion.process.priced and space.identity
    assert ("power" in arrays) == spectra
    if spectra:
        power = float((arrays["coefficients"] * np.nan_to_num(arrays["power"])).sum())
        whole = lab.examples(lab.data.test).x0(slice(0, mapping.EXAMPLES)).double().square().sum()
        assert power == pytest.approx(float(whole) / min(mapping.EXAMPLES, len(lab.data.test)), rel=1e-6)
        assert arrays["noised_power"].shape == arrays["centred_noised_power"].shape == (len(t), 8)
    elif len(shape) == 1:
        assert arrays["forward_path"].shape == arrays["reverse_path"].shape == (len(arrays["path_t"]), *kept)
        assert np.array_equal(arrays["reverse_path"][[0, -1]], arrays["reverse"][[0, -1]])
        np.testing.assert_allclose(arrays["forward_path"][[0, -1]], arrays["forward"][[0, -1]])
        level = lab.diffusion.schedule.level(lab.diffusion.schedule.even(1))  # T
        zero = 0 * lab.data.test.index[:3]
        eps = normal(key(lab.bound.seed, lab.data.test.index[:3], zero, zero), shape)
        wanted = float(level.alpha) * z + float(level.sigma) * eps
        np.testing.assert_allclose(arrays["forward"][-1], show(wanted), rtol=1e-5, atol=1e-6)


def test_large_pictures_are_kept_small() -> None:
    lab = assemble(config_of(KINDS["digits"]))
    mapping_side, mapping.SIDE = mapping.SIDE, 3
    try:
        x = lab.examples(lab.data.test).first(2).x0(slice(None))
        assert np.array_equal(mapping.display(lab)(x), lab.data.to_pixels(x)[..., ::3, ::3].numpy())
    finally:
        mapping.SIDE = mapping_side


@pytest.mark.parametrize(("key", "value"), [("levels", 1), ("walk", 0), ("count", 0)])
def test_what_cannot_be_drawn_is_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"^task\.{key}={value} must be at least"):
        mapping.check({**TASK, key: value})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has got as far as a checkpoint."""
    directory = tmp_path_factory.mktemp("mapping") / "run"
    config = config_of([*TINY, "sampler=ddim", "sampler.steps=4"])
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    lab = assemble(config)
    weights = lab.model.state_dict()
    state = {"model": weights, "ema": weights, "step": 2, "design": frozen(config), "data": lab.fingerprint}
    checkpoint.save(directory / "checkpoints" / "step_00000002", state)
    return directory


def job(directory: Path, *more: str) -> dict[str, Any]:
    return config_of(["task=report", f"runs=[{directory}]", "device=cpu", *more])


def test_a_report_walks_what_is_missing_once(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report.run(job(trained, "task.mapping=false"), tmp_path)
    assert not (trained / "mapping").exists()
    report.run(job(trained), tmp_path)
    assert "no record of the mapping at step_00000002 yet, so it is walked" in capsys.readouterr().err
    arrays, about = record.load(trained / "mapping" / "step_00000002.npz")
    assert about["sampler"]["name"] == "ddim"  # the run's own
    assert about["weights"] == record.weights(trained / "checkpoints" / "step_00000002")
    assert len(arrays["forward"][0]) == mapping.COUNT[True]
    text = (tmp_path / "report.html").read_text()
    report.run(job(trained), tmp_path)
    assert "walked" not in capsys.readouterr().err
    assert (tmp_path / "report.html").read_text() == text
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    assert data["runs"][0]["mapping"]["t"][1:] == arrays["t"].tolist()


@pytest.mark.parametrize("error", [ConfigError("why"), OSError("why"), RuntimeError("why")])
def test_a_walk_that_cannot_be_made_is_a_note(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for path in (trained / "mapping").glob("*"):
        path.unlink()

    def refused(config: dict[str, Any], run_dir: Path) -> None:
        raise error

    monkeypatch.setattr(mapping, "run", refused)
    report.run(job(trained), tmp_path)
    assert re.search(r"the mapping could not be walked: .*why", (tmp_path / "report.html").read_text())

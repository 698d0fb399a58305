"""How a network computes: chosen once, kept with the run, and never the reason that a run ends."""

from __future__ import annotations

import pytest
import torch

from difflab.errors import ConfigError
from difflab.precision import BFloat16
from difflab.ranks import Ranks
from difflab.train.compute import NEVER, WORTH, WORTH_MINUTES, Compute, compiled
from tests.train.test_trainer import trainer, until

CPU = torch.device("cpu")


def capable(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


def test_only_long_runs_on_a_matrix_unit_compile_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    capable(monkeypatch, amx_bf16=True)
    assert Compute.choose("auto", "auto", WORTH, None, CPU).compile == "default"
    assert Compute.choose("auto", "auto", WORTH, WORTH_MINUTES, CPU).compile == "default"
    assert Compute.choose("auto", "auto", WORTH, WORTH_MINUTES - 1, CPU).compile == NEVER
    assert Compute.choose("auto", "auto", WORTH - 1, None, CPU).compile == NEVER
    capable(monkeypatch, avx512_bf16=True)
    assert Compute.choose("auto", "auto", WORTH, None, CPU).compile == NEVER
    assert Compute.choose("auto", "reduce-overhead", 1, None, CPU).compile == "reduce-overhead"
    with pytest.raises(ConfigError, match=r"trainer\.compile=fast is not one of auto, never"):
        Compute.choose("auto", "fast", 1, None, CPU)


def test_recorded_steps_do_not_add_up_gradients() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.compile=max-autotune replays .* trainer\.accumulate=2 adds up"):
        trainer(compile="max-autotune", accumulate=2)


def test_a_resumed_run_computes_as_before_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    here, before = Compute("fp32", NEVER, 2), {"precision": "bf16", "compile": "default", "threads": 7}
    assert here.resumed(before, "auto", "auto", 1) == Compute("bf16", "default", 7)
    assert here.resumed(before, "fp32", NEVER, 1) == Compute("fp32", NEVER, 7)
    assert here.resumed(before | {"ranks": 2}, "auto", "auto", 2).threads == 7
    assert (
        here.resumed(before | {"ranks": 2}, "auto", "auto", 1).threads == 2
    )  # torchrun's one thread each is not for one
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert here.resumed(before, "auto", "auto", 1).threads == 2


def test_a_trainer_takes_up_what_its_checkpoint_says() -> None:
    first = trainer(precision="bf16", steps=4)
    first.run(lambda row: None)
    second = trainer(precision="auto", steps=8)
    second.compute = Compute("fp32", NEVER, 1)
    assert not isinstance(second.trained.model, BFloat16)
    second.load_state_dict(first.state_dict())
    assert second.compute.precision == "bf16"
    assert isinstance(second.trained.model, BFloat16)


def test_bf16_training_resumes_bit_for_bit() -> None:
    whole, rows = trainer(precision="bf16", steps=10), []
    whole.run(lambda row: None)
    half = trainer(precision="bf16", steps=10)
    stop = until(5, rows)
    with pytest.raises(stop.reached):  # type: ignore[attr-defined]
        half.run(stop)
    rest = trainer(precision="bf16", steps=10)
    rest.load_state_dict(half.state_dict())
    rest.run(lambda row: None)
    for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(a, b)
    exact = trainer(precision="fp32", steps=10)
    exact.run(lambda row: None)
    assert not torch.equal(next(whole.model.parameters()), next(exact.model.parameters()))


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(16, 6), torch.zeros(16)


def test_a_compiler_that_fails_leaves_the_network_and_one_line(monkeypatch, capsys) -> None:
    model = trainer().model

    def broken(*_args, **_kwargs):
        def fast(*_inputs):
            raise RuntimeError("no C++ compiler\nand much more")

        return fast

    monkeypatch.setattr(torch, "compile", broken)
    assert compiled(model, "default", [inputs()], False, Ranks()) is model
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "not compiled, the run goes on without (RuntimeError: no C++ compiler)"
    assert len(said) == 2
    run = trainer(compile="default", steps=2)
    run.run(lambda row: None)
    assert run.compute.compile == NEVER


def test_a_compiler_that_fails_elsewhere_leaves_all_processes_alike(monkeypatch, capsys) -> None:
    class Told(Ranks):
        def largest(self, value: float) -> float:
            return 1.0

    model = trainer().model
    monkeypatch.setattr(torch, "compile", lambda model, mode, dynamic: model)
    assert compiled(model, "default", [inputs()], False, Told()) is model
    assert capsys.readouterr().err.splitlines()[-1].endswith("without (another process failed)")
    assert all(p.grad is None for p in model.parameters())


def test_every_size_of_a_micro_batch_is_compiled_before_the_clock_runs(monkeypatch) -> None:
    seen = []

    def watched(model, mode, dynamic):
        def fast(x_t, *rest):
            assert all(p.grad is None for p in model.parameters()) or run  # no try adds to the gradients of another
            seen.append(len(x_t))
            return model(x_t, *rest)

        return fast

    monkeypatch.setattr(torch, "compile", watched)
    run = None
    tried = trainer(compile="default", steps=2, batch_size=17, accumulate=4)
    assert tried.trained
    run = tried
    assert set(seen) == {4, 5}
    seen.clear()
    run.train_step()
    assert seen == [5, 4, 4, 4]


def test_compiled_steps_are_the_same_steps(monkeypatch) -> None:
    """torch's own tracer without code generation: the same kernels, so the same weights to the last bit."""
    real, calls = torch.compile, []

    def traced(model, mode, dynamic):
        calls.append(mode)
        return real(model, backend="aot_eager", dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", traced)
    runs = [trainer(dropout=0.0, compile=name, steps=6) for name in (NEVER, "default")]
    for run in runs:
        run.run(lambda row: None)
    assert calls == ["default"]
    for a, b in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        assert torch.equal(a, b)

"""A finished run on the disk with any terms, and two tables of terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.compare.made_up import DESIGN, MakeRun, save


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(name, nats [N, T + 1], ...) -> the directory of a finished run with these terms."""

    def make(
        name: str,
        nats: np.ndarray,
        rows: dict[str, np.ndarray] | None = None,
        index: np.ndarray | None = None,
        log_snr: np.ndarray | None = None,
        config: dict[str, Any] | None = None,
        **result: Any,
    ) -> Path:
        nats = nats.astype(np.float32).astype(float)
        directory = tmp_path / name
        (directory / ".hydra").mkdir(parents=True)
        config = {"seed": 0, "data": {"name": "digits"}, "bound": DESIGN, **(config or {})}
        (directory / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
        (directory / ".hydra" / "overrides.yaml").write_text(f"- name={name}\n- seed={config['seed']}\n")
        save(directory / "bound" / "step_00000007", nats, rows, index, log_snr, seed=config["seed"], **result)
        (directory / "bound" / "step_00000007.json").rename(directory / "result.json")
        return directory

    return make


@pytest.fixture
def terms_of_two() -> tuple[np.ndarray, np.ndarray]:
    """Two tables [12, 9] whose examples are alike."""
    rng = np.random.default_rng(1)
    common = rng.gamma(2.0, size=(12, 9))
    return tuple((common + 0.2 * rng.gamma(1.0, size=(12, 9))).astype(np.float32).astype(float) for _ in range(2))  # type: ignore[return-value]

"""The package works from a wheel and from a checkout, from any directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = "import difflab.config.schema as s; print(s.conf_directory()); from difflab.cli import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as pip would."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(out / "site")
    return out / "site"


def composed(path: Path, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_wheel_brings_its_configuration_and_its_digits(wheel: Path, tmp_path: Path) -> None:
    names = {str(path.relative_to(wheel)) for path in wheel.rglob("*")}
    assert {
        "difflab/conf/config.yaml",
        "difflab/sweeps/ddpm_table_2.yaml",
        "difflab/py.typed",
        "difflab/data/digits.npz",
        "difflab/data/digits_LICENSE.txt",
        "difflab/data/text.txt.gz",
        "difflab/data/text_LICENSE.txt",
    } <= names
    result = composed(wheel, tmp_path, "--cfg", "job", "schedule=linear")
    assert result.returncode == 0, result.stderr
    first, rest = result.stdout.split("\n", 1)
    assert Path(first) == wheel / "difflab" / "conf"
    assert "last_beta: 0.02" in rest
    assert not list(tmp_path.iterdir())


def test_a_wheel_trains_in_a_foreign_directory(wheel: Path, tmp_path: Path) -> None:
    tiny = [
        "model.channels=8",
        "model.groups=2",
        "trainer.steps=2",
        "schedule.T=8",
        "preview.steps=2",
        "sampler.steps=2",
        "tracker=none",
    ]
    result = composed(wheel, tmp_path, *tiny, "bound.examples=2", "validation.examples=2")
    assert result.returncode == 0, result.stderr
    assert "bits/dim" in result.stdout
    assert list(tmp_path.glob("runs/*/*/result.json"))


def test_a_checkout_finds_its_configuration_from_elsewhere(tmp_path: Path) -> None:
    result = composed(ROOT, tmp_path, "--cfg", "job")
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.split("\n", 1)[0]) == ROOT / "conf"

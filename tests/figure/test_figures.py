"""Every figure is drawn for every shape of ledger, whole or not at all, and leaves matplotlib as it was."""

import math
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
import torch

from difflab.figure import heatmap, per_log_snr, per_timestep, sample_grid, scatter
from difflab.figure.canvas import canvas


def picture(path):
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left
    return matplotlib.image.imread(path)


@pytest.mark.parametrize("draw", [per_timestep, per_log_snr])
@pytest.mark.parametrize("kind", [{"T": 1}, {"T": 2}, {"T": 200, "count": 3}, {"T": 30, "last_log_snr": -math.inf}])
def test_the_bound_is_drawn(make_ledger, tmp_path, draw, kind):
    assert picture(draw(make_ledger(**kind), tmp_path / "a.png", title="cosine / eps")).std() > 0.01


@pytest.mark.parametrize("draw", [per_timestep, per_log_snr])
def test_densities_and_vanishing_terms_are_drawn(make_ledger, nats, tmp_path, draw):
    ledger = make_ledger(T=40, unit=nats)
    ledger.columns["nats_per_dim"][0] = -1.5  # a density may exceed 1
    ledger.columns["nats_per_dim"][-1] = 0.0
    ledger.columns["variance_mismatch_nats_per_dim"][1:-1] = 0.0
    ledger.columns["nats_per_dim_se"][:] = math.nan
    ledger.totals.clear()
    picture(draw(ledger, tmp_path / "a.png"))


def test_pooling_is_said(make_ledger):
    from difflab.figure.bound import _facts
    from difflab.figure.pooling import transitions

    few, many = make_ledger(count=3), make_ledger()
    assert "pooled to at least 8 draws" in _facts(few, transitions(few))
    assert _facts(many, transitions(many)) == f"{many.totals['bpd']:.4f} ± 0.0103 bits/dim,  N = 360,  T = 1,000"


@pytest.mark.parametrize(("T", "steps"), [(1, [0]), (2, [50]), (300, [50, 100, 400])])
def test_the_heatmap_is_drawn(make_ledger, tmp_path, T, steps):
    rows = [{"step": s, "values": make_ledger(T=T, seed=s).columns["bpd"].tolist()} for s in steps]
    rows.insert(0, {"step": 1, "values": [1.0] * (T + 5)})  # another chain's row is left out
    rows[-1]["values"][0] = -1.0
    picture(heatmap(rows, tmp_path / "h.png", title="cosine", unit="bits/dim"))


def test_pictures_are_enlarged_without_smoothing(tmp_path):
    x = torch.zeros(5, 1, 8, 8, dtype=torch.uint8)
    x[0, 0, 0, 0], x[4, 0, 7, 7] = 255, 100
    grid = picture(sample_grid(x, tmp_path / "s.png", columns=2))
    assert grid.shape[:2] == (3 * 66 + 2, 2 * 66 + 2)
    values = set(np.unique((grid[..., :3] * 255).round()))
    assert values == {0, 100, 255}  # whole pixels only; 255 is the gap too
    assert (grid[2:10, 2:10, :3] == 1).all() and (grid[2:10, 10:66, :3] == 0).all()


def test_colours_and_single_pictures(tmp_path):
    x = np.zeros((1, 3, 28, 28), np.uint8)
    x[0, 2] = 255
    grid = picture(sample_grid(x, tmp_path / "s.png"))
    assert grid[5, 5, :3].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2, 8, 8), np.uint8), np.zeros((2, 1, 8, 8)), np.zeros((0, 1, 8, 8), np.uint8)]
)
def test_what_is_no_picture_is_refused(tmp_path, bad):
    with pytest.raises(ValueError, match="uint8"):
        sample_grid(bad, tmp_path / "s.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_points_are_drawn_even_if_some_are_lost(tmp_path, dims):
    rng = np.random.default_rng(0)
    data, points = rng.normal(size=(300, dims)), torch.randn(200, dims)
    points[0], points[1] = math.nan, 1e6
    picture(scatter(points, data, tmp_path / "s.png", title="gaussian"))


def test_a_failed_drawing_leaves_nothing(tmp_path):
    old = tmp_path / "a.png"
    old.write_bytes(b"old")
    with pytest.raises(RuntimeError), canvas(old, 2, 2):
        raise RuntimeError("in the middle")
    assert old.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_settings_stay_and_pyplot_is_never_loaded(tmp_path):
    code = """
import sys, numpy as np
from pathlib import Path
import difflab.figure
assert "matplotlib" not in sys.modules and "torch" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()  # reading the backend item by item would load pyplot
difflab.figure.scatter(np.zeros((3, 2)), np.random.rand(9, 2), Path(sys.argv[1]) / "a.png")
assert matplotlib.rcParams.copy() == before and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)

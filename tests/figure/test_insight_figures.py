"""The figures of what follows from the terms: drawn for every shape of table, and showing what the table says."""

from __future__ import annotations

import math
from contextlib import contextmanager

import matplotlib.image
import numpy as np
import pytest

from difflab import tables
from difflab.bound import chain
from difflab.figure import bands, chains, insight, rate_distortion, variances
from difflab.gaussian import BITS, NATS

DIMS = 784


def log_snr_of(T: int) -> np.ndarray:
    return np.append(math.inf, np.linspace(9, -8, T) if T > 1 else [2.0])


def errors(T: int) -> np.ndarray:
    """Much like a trained network's: nothing known at the noisy end, single grey levels undecided at the clean one."""
    log_snr = log_snr_of(T)[1:]
    mse_eps = 0.05 + 0.7 / (1 + np.exp(-(log_snr - 5) / 1.5))
    return np.append(math.nan, 1 / (1 / 0.3 + np.exp(log_snr) / mse_eps))


def variance_table(T: int, unit=BITS) -> tables.Columns:
    """The whole chain, one jump a step, as the file has it."""
    mse, t = errors(T), np.arange(1, T + 1)

    def jumps(name: str, factor: float = 1.0) -> np.ndarray:
        priced = chain.Jumps(log_snr_of(T), mse, factor * mse, DIMS, name)
        return priced.cost(t[:-1], t[1:]) / (DIMS * unit.nats)

    columns = {"own": jumps("optimal", 1.3)} | {name: jumps(name) for name in chain.VARIANCES}
    ends = {"own": 0.42, "fixed_beta": 0.5, "fixed_beta_tilde": 0.55, "optimal": 0.43}
    terms = np.array(["decoder_nll"] + ["transition_kl"] * (T - 1) + ["prior_kl"])
    filled = {name: np.concatenate([[ends[name]], values, [1e-4]]) for name, values in columns.items()}
    return {"t": np.append(t, T), "term": terms, **filled}


def chain_table(T: int, unit=BITS, evaluated: tuple[int, ...] = (10, 50), shift: float = 0.0) -> tables.Columns:
    mse = errors(T)
    nll = {name: (0.45 + 0.02 * k) * DIMS * unit.nats + shift for k, name in enumerate(chain.VARIANCES)}
    columns = chain.table(log_snr_of(T), mse, mse, DIMS, 0.1, nll, unit)
    columns[f"{unit.key}_se"] = 0.01 * np.abs(columns[unit.key])
    seen = np.isin(columns["steps"], evaluated)
    columns["evaluated"] = np.where(seen, columns[unit.key] + 0.02, math.nan)
    columns["evaluated_se"] = np.where(seen, 0.05, math.nan)
    columns["difference"] = np.where(seen, 0.02 + columns["steps"] * 1e-5, math.nan)
    columns["difference_se"] = np.where(seen, 0.004, math.nan)
    rows = np.flatnonzero(seen & (columns["variance"] == "optimal"))
    own = {name: values[rows].copy() for name, values in columns.items()}
    own["variance"] = np.full(len(rows), "own")
    own["evaluated"] = own["evaluated"] * 1.08
    for name in (unit.key, f"{unit.key}_se", "difference", "difference_se"):
        own[name] = np.full(len(rows), math.nan)
    return {name: np.concatenate([values, own[name]]) for name, values in columns.items()}


def rate_table(T: int, unit=BITS) -> tables.Columns:
    step_rate = variance_table(T, unit)["own"][:T][::-1].copy()
    step_rate[-1] = 0
    rate = 1e-4 + np.cumsum(step_rate) - step_rate
    return {
        "t": np.arange(T, 0, -1),
        "log_snr": log_snr_of(T)[:0:-1],
        "rate": rate,
        "rate_se": 0.02 * rate,
        "distortion": 127.5 * np.sqrt(errors(T)[:0:-1]),
        "step_rate": step_rate,
    }


def band_table(T: int, unit=BITS) -> tables.Columns:
    """Coarse bands are paid for early in the reverse process, fine ones next to the data."""
    t = np.arange(2, T + 1)
    total = variance_table(T, unit)["own"][1:T]
    centre = 0.35 * T / (1 + np.arange(8.0)) ** 1.5 + 2
    share = np.exp(-0.5 * (np.log(t / centre[:, None]) / 0.9) ** 2) + 0.01
    values = total * share / share.sum(0)
    return {
        "t": t,
        **{f"band_{k}": values[k] for k in range(8)},
        **{f"band_{k}_se": 0.05 * values[k] for k in range(8)},
    }


DRAWN = {
    "variances": (variances, variance_table),
    "chains": (chains, chain_table),
    "rate_distortion": (rate_distortion, rate_table),
    "bands": (bands, band_table),
}


def picture(path):
    assert path.read_bytes().startswith(b"\x89PNG")
    return matplotlib.image.imread(path)


@pytest.fixture
def drawn(monkeypatch):
    """The figures as matplotlib holds them, in the order in which they were drawn."""
    figures, real = [], insight.canvas

    @contextmanager
    def seen(*arguments):
        with real(*arguments) as figure:
            figures.append(figure)
            yield figure

    monkeypatch.setattr(insight, "canvas", seen)
    return figures


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("T, unit", [(2, BITS), (12, NATS), (1000, BITS)])
def test_tables_are_drawn_from_memory_and_from_their_files(tmp_path, name, T, unit):
    draw, make = DRAWN[name]
    columns = make(T, unit)
    path = draw(columns, unit, tmp_path / "a" / "memory.png", title="cosine / v")
    assert path == tmp_path / "a" / "memory.png" and picture(path).std() > 0.01
    loaded = tables.load(tables.save(tmp_path / f"{name}.csv", columns))
    assert draw(loaded, unit, tmp_path / "a" / "file.png", title="cosine / v").read_bytes() == path.read_bytes()
    assert sorted(p.name for p in path.parent.iterdir()) == ["file.png", "memory.png"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["variances", "chains", "rate_distortion"])
def test_a_chain_of_one_step_is_drawn(tmp_path, name):
    draw, make = DRAWN[name]
    picture(draw(make(1), BITS, tmp_path / "a.png"))


@pytest.mark.filterwarnings("error")
def test_what_is_not_known_is_left_out(tmp_path, drawn):
    """A diverged network, no evaluated chain, no variance of its own, a band without error."""
    nothing = chain.table(log_snr_of(30), np.full(31, math.nan), np.full(31, math.nan), DIMS, 0.1,
                          dict.fromkeys(chain.VARIANCES, 1.0), BITS)  # fmt: skip
    picture(chains(nothing, BITS, tmp_path / "a.png"))
    table = variance_table(30)
    table["own"] = np.full(31, math.nan)
    picture(variances(table, BITS, tmp_path / "b.png"))
    names = [text.get_text().split()[0] for text in drawn[-1].axes[0].get_legend().get_texts()]
    assert names == ["fixed_beta", "fixed_beta_tilde", "optimal"]
    del table["own"]
    picture(variances(table, BITS, tmp_path / "c.png"))
    split = band_table(30)
    split["band_7"][:] = 0
    split["band_3"][4] = math.nan
    picture(bands(split, BITS, tmp_path / "d.png"))
    coding = rate_table(30)
    coding["rate_se"][:] = math.nan
    coding["distortion"][3] = math.nan
    picture(rate_distortion(coding, BITS, tmp_path / "e.png"))


def line(axes, colour: str, style: str):
    found = [
        x for x in axes.get_lines() if x.get_color() == colour and x.get_linestyle() == style and len(x.get_xdata())
    ]
    return found[0]


def test_chains_are_lines_and_evaluations_points(tmp_path, drawn):
    columns = chain_table(100)
    chains(columns, BITS, tmp_path / "a.png")
    axes, near = drawn[0].axes
    low, high = near.get_ylim()
    assert low < columns["bpd"][np.isfinite(columns["bpd"])].min() and high < 0.1 * np.nanmax(columns["bpd"])
    for name in chain.VARIANCES:
        for kind, style in (("even", "--"), ("optimal", "-")):
            rows = (columns["variance"] == name) & (columns["chain"] == kind)
            shown = line(axes, insight.COLOURS[name], style)
            assert shown.get_xdata().tolist() == [2, 5, 10, 25, 50, 100]
            np.testing.assert_array_equal(shown.get_ydata(), columns["bpd"][rows])
    points = np.concatenate([c.lines[0].get_ydata() for c in axes.containers])
    assert sorted(points) == sorted(columns["evaluated"][np.isfinite(columns["evaluated"])])
    assert axes.get_yscale() == "log" and [t.get_text() for t in axes.get_legend().get_texts()][3] == "own"
    assert "12 claims evaluated" in axes.texts[0].get_text() and "+0.0205 ± 0.0040" in axes.texts[0].get_text()


@pytest.mark.parametrize("shift, scale", [(0.0, "log"), (-3.0 * DIMS, "symlog"), (1000.0 * DIMS, "linear")])
def test_the_axis_suits_the_range(tmp_path, drawn, shift, scale):
    chains(chain_table(400, NATS, evaluated=(), shift=shift), NATS, tmp_path / "a.png")
    axes = drawn[0].axes[0]
    assert axes.get_yscale() == scale and len(drawn[0].axes) == (1 if scale == "linear" else 2)
    assert not [text for text in axes.get_legend().get_texts() if "evaluated" in text.get_text()]


def test_differences_of_variances_add_up_over_t(tmp_path, drawn):
    columns = variance_table(50)
    variances(columns, BITS, tmp_path / "a.png")
    axes = drawn[0].axes[0]
    for name in ("own", "fixed_beta", "fixed_beta_tilde"):
        shown = line(axes, insight.COLOURS[name], "-").get_ydata()
        assert shown[0] == 0  # before L_0
        for t in (1, 2, 17, 50):
            expected = sum(columns[name][:t]) - sum(columns["optimal"][:t])
            assert shown[t] == pytest.approx(expected, rel=1e-9)
    total = columns["fixed_beta"].sum() - columns["optimal"].sum()
    assert f"fixed_beta  {total:+.4f}" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_coding_is_shown_from_noise_to_data(tmp_path, drawn):
    columns = rate_table(100)
    shuffled = {name: values[np.random.default_rng(0).permutation(100)] for name, values in columns.items()}
    rate_distortion(shuffled, BITS, tmp_path / "a.png")
    left, middle, right = drawn[0].axes[:3]
    for axes, x, y in (
        (left, np.arange(100), columns["distortion"]),
        (middle, np.arange(100), columns["rate"]),
        (right, columns["rate"], columns["distortion"]),
    ):
        np.testing.assert_array_equal(axes.get_lines()[0].get_xydata(), np.stack([x, y], 1))


def test_bands_sum_up_beside_their_map(tmp_path, drawn):
    columns = band_table(12)
    bands(columns, BITS, tmp_path / "a.png")
    axes, side = drawn[0].axes[:2]
    np.testing.assert_allclose(
        [bar.get_width() for bar in side.patches], [columns[f"band_{k}"].sum() for k in range(8)]
    )
    cells = axes.collections[0].get_array().reshape(8, -1)
    assert cells.shape == (8, 11)  # every t of a short chain has its own column
    np.testing.assert_allclose(cells, [columns[f"band_{k}"] for k in range(8)])


def test_neighbouring_t_share_a_cell_of_the_map(tmp_path, drawn):
    columns = band_table(1000)
    bands(columns, BITS, tmp_path / "a.png")
    mesh = drawn[0].axes[0].collections[0]
    edges, cells = mesh.get_coordinates()[0, :, 0] + 0.5, mesh.get_array().reshape(8, -1)
    assert edges[0] == 2 and edges[-1] == 1001
    spread = (cells * np.diff(edges)).sum(1)
    np.testing.assert_allclose(
        spread, [columns[f"band_{k}"].sum() for k in range(8)]
    )  # means times widths: nothing is lost

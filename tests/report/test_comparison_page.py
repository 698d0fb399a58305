"""The page of a comparison in a real browser: what was lost is on top, tables sort, rows filter, nothing is executed."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from difflab.card.blocks import Bullets, Heading, Picture, Table, Text
from difflab.compare.factors import Factor
from difflab.compare.markdown import Section
from difflab.report.comparison import Told, page
from tests.report.conftest import Visit

EVIL = "<img src=x onerror=alert(1)></script>"
ROWS = [
    ["s=a", "2.5 ± 0.1", "best"], ["s=b", "10.25 ± 0.1", "+1.5e-05 [-1, 1]"], ["s=c", "1,000.5", "-0.5"], [EVIL, "", ""],
]  # fmt: skip


def told(**changes) -> Told:
    given = {
        "title": "Comparison of 3 runs",
        "sections": [
            Section("ranking", "Ranking", [Text("`x` and L_T"), Table(["run", "bits/dim", "gap"], ROWS)]),
            Section("seeds", "Over seeds", []),
            Section("effects", "Which", [Text("lead"), Heading("h", 3), Bullets([EVIL])]),
        ],
        "views": {"first": [Text("one view")], "second": [Table(["part", "y"], [["L_0", "x2.5"]])]},
        "failed": {"s=d": EVIL},
        "not_defined": {"s=e": "no gradient."},
        "factors": [Factor("s", ("a", "b", "c"))],
        "levels": {f"s={level}": {"s": level} for level in "abc"},
        "pictures": [Picture("a.png", "a picture"), Picture("missing.png", "none")],
        "notes": ["again"],
    }
    return Told(**(given | changes))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    matplotlib.image.imsave(tmp_path / "a.png", np.zeros((4, 4, 3)))
    return tmp_path


FIRST = (
    "[...document.querySelectorAll('#ranking tbody tr')].filter((r) => !r.hidden).map((r) => r.cells[0].textContent)"
)


def test_what_was_lost_is_on_top_and_nothing_in_a_name_acts(visit: Visit, directory: Path) -> None:
    page_ = page(told(), directory)
    script = """return [document.querySelector("main").innerText.indexOf("1 job failed") < document.querySelector("main").innerText.indexOf("Ranking"),
      document.querySelectorAll("#failed li, #not-defined li").length, document.querySelectorAll("main img").length,
      [...document.querySelectorAll("section")].map((s) => s.id), document.querySelector("#effects .said").innerText.length]"""
    first, items, pictures, ids, length = visit(page_, script)
    assert first and items == 2 and pictures == 1 and length == len(EVIL)
    assert ids == ["ranking", "effects", "figures", "again"]
    visit(page_, guarded=True)  # the policy lets its own script run


def test_tables_sort_by_the_numbers_they_show_and_rows_filter_by_a_level(visit: Visit, directory: Path) -> None:
    script = f"""const by = (i) => {{ document.querySelectorAll('#ranking th button')[i].click(); return {FIRST}; }};
      const pick = (level) => {{ const s = document.querySelector('[data-factor=s]'); s.value = level;
        s.dispatchEvent(new Event('change')); return {FIRST}; }};
      return [by(1), by(2), by(2), document.querySelectorAll('#ranking th[aria-sort]').length, pick('2'),
        document.getElementById('filtered').textContent, pick('')]"""
    bound, gap, down, marked, picked, note, all_ = visit(page(told(), directory), script)
    assert bound == ["s=a", "s=b", "s=c", EVIL]
    assert gap == ["s=c", "s=a", "s=b", EVIL] and down == ["s=b", "s=a", "s=c", EVIL] and marked == 1
    assert picked == ["s=b", EVIL] and note == "2 of 4 rows shown; figures and effects are of all."
    assert all_ == down


def test_the_views_of_the_effects_can_be_chosen(visit: Visit, directory: Path) -> None:
    text = "document.querySelector('#effects').innerText"
    before, after = visit(
        page(told(), directory),
        f"const before = {text}; document.querySelector('#effects input[value=second]').click(); return [before, {text}]",
    )
    assert "one view" in before and "one view" not in after and "x2.5" in after


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_window(visit: Visit, directory: Path, width: int) -> None:
    wide = told(
        sections=[Section("ranking", "R", [Table(["run", *"x" * 30], [["x" * 300, *["0.123456 ± 0.1"] * 30]])])]
    )
    root = "document.documentElement"
    assert visit(page(wide, directory), f"return {root}.scrollWidth <= {root}.clientWidth", width=width)


def test_a_sweep_of_which_nothing_is_left_has_its_page(visit: Visit, directory: Path) -> None:
    nothing = told(
        sections=[Section("ranking", "Ranking", [Text("No job finished.")])],
        views={},
        factors=[],
        levels={},
        pictures=[],
        notes=[],
    )
    page_ = page(nothing, directory)
    assert "1 job failed" in visit(page_, "return document.querySelector('main').innerText")
    assert (
        "<noscript>" in page_
        and "failed: s=d: &lt;img" in page_
        and "http" not in page_.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    )

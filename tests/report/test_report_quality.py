"""The page shows what task=quality left, and only where it left something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from difflab.quality.record import save
from tests.compare.made_up import quality_record
from tests.report.conftest import Visit, page

SCRIPT = """return { there: !!document.getElementById("quality"), shown: [...document.querySelectorAll("#quality [data-key]")]
  .map((one) => [one.dataset.key, Number(one.dataset.value), Number(one.dataset.se)]) }"""


def test_quality_stands_beside_that_of_held_out_examples(visit: Visit, recorded: Path) -> None:
    before: dict[str, Any] = visit(page(recorded), SCRIPT)
    assert before == {"there": False, "shown": []}
    save(recorded / "quality" / "step_00000120-x", quality_record(3.0) | {"features": "<b>x"})
    (recorded / "quality" / "step_00000120-torn.json").write_text("{")
    found: dict[str, Any] = visit(page(recorded), SCRIPT)
    assert found["there"] and len(found["shown"]) == 12
    assert found["shown"][:3] == [
        ["quality/frechet_x", 4.0, 0.1],
        ["quality/frechet_x_corrected", 3.0, 0.1],
        ["quality/precision", 0.5, 0.02],
    ]
    assert found["shown"][7] == ["quality/frechet_x_corrected", 0.0, 0.1]

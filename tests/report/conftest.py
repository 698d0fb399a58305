"""The recorded run (tests/report/record.py makes it anew), copies of it that differ, and a browser to read pages with."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from difflab.report.collect import collect
from difflab.report.page import render

RECORDED = Path(__file__).with_name("recorded")
STEM = "step_00000120"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def page(*runs: Path, names: dict[Path, str] | None = None) -> str:
    return render(collect(list(runs), names or {run: run.name for run in runs}))


def worse(run: Path, out: Path, nats_per_dim: float = 0.05) -> Path:
    """A copy whose examples cost more (half of them twice as much as the mean), by a known difference."""
    shutil.copytree(run, out)
    result = json.loads((out / "result.json").read_text())
    with np.load(out / "bound" / f"{STEM}.npz") as archive:
        terms = dict(archive)
    added = nats_per_dim * int(terms["dims"]) * np.where(np.arange(len(terms["total"])) % 2, 2.0, 0.0)
    terms["total"] = terms["total"] + added
    np.savez_compressed(out / "bound" / f"{STEM}.npz", **terms)
    result["bpd"] += nats_per_dim / np.log(2)
    (out / "result.json").write_text(json.dumps(result))
    return out


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(RECORDED, tmp_path / "recorded"))


Visit = Callable[..., Any]


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    """visit(page, script) -> what the script gives back, run in a browser after the page's own.

    `guarded` leaves the page's policy in force (the script is then refused); `width` shows the page in a frame so wide.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: chromium, chromium-browser or google-chrome")

    def run(
        text: str, script: str = "null", *, guarded: bool = False, width: int | None = None, flags: tuple[str, ...] = ()
    ) -> Any:
        body = f"<script>document.documentElement.dataset.result = JSON.stringify((() => {{ {script} }})() ?? null)</script></body>"
        text = text if guarded else POLICY.sub("", text)
        text = text.replace("</body>", body)
        if width:
            frame = f'<iframe width="{width}" height="900" srcdoc="{html.escape(text, quote=True)}"></iframe>'
            inner = 'document.querySelector("iframe").contentDocument.documentElement'
            copied = f"document.documentElement.dataset.result = {inner}.dataset.result; document.documentElement.dataset.ready = {inner}.dataset.ready"
            text = f'<!doctype html><html><body style="margin:0">{frame}<script>addEventListener("load", () => {{ {copied} }})</script></body></html>'
        path = tmp_path / "visited.html"
        path.write_text(text, encoding="utf-8")
        command = [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1280,1000",
            "--virtual-time-budget=5000",
        ]
        command += [f"--user-data-dir={tmp_path / 'profile'}", *flags, "--dump-dom", path.as_uri()]
        dom = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True).stdout
        root = re.search(r"<html[^>]*>", dom)
        assert root, dom[:500]
        assert 'data-ready="true"' in root[0], f"the page's script did not come to its end: {root[0]}"
        assert "data-error" not in root[0], root[0]
        result = re.search(r'data-result="([^"]*)"', root[0])
        return json.loads(html.unescape(result[1])) if result else None

    return run

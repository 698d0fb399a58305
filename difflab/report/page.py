"""The dictionary of collect.py -> one HTML page that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..console import is_space_term

HERE = Path(__file__).parent
SCRIPTS = (
    "chart.js", "parts.js", "view.js", "terms.js", "insight.js", "mapping.js", "quality.js", "shell.js", "page.js",
)  # fmt: skip
# A page opened from a disk needs nothing from anywhere, so the browser is told to refuse everything but the page's own
# script, known by its hash: a second guard behind the escaping of names that come from runs.
POLICY = (
    "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; base-uri 'none'; form-action 'none'"
)


def render(report: dict[str, Any]) -> str:
    """The page of a report."""
    return script_page(title(report), report, SCRIPTS, totals(report))


def script_page(title: str, data: Any, scripts: Sequence[str], plain: str) -> str:
    """The page that `scripts` (assets) draw of `data`. Everything that came from a run is data in it (JSON, or escaped text),
    never markup or script. `plain`: markup for a reader without scripts."""
    script = "\n".join(_asset(name) for name in scripts)
    parts = {"title": escape(title), "script": script, "data": embedded(data), "plain": plain}
    return _shell(title, _filled("page.html", parts), _hash(script))


def still(title: str, body: str) -> str:
    """A page in the same clothes that shows `body` (HTML, its texts escaped, pictures as data) and runs no script."""
    return _shell(title, f"<main>\n{body}\n</main>", "none")


def _shell(title: str, body: str, script: str) -> str:
    """A whole page around a body; `script`: the hash of the one that may run."""
    style = _asset("page.css")
    policy = _policy(POLICY.format(style=_hash(style), script=script))
    return _filled("shell.html", {"title": escape(title), "policy": policy, "style": style, "body": body})


def title(report: dict[str, Any]) -> str:
    runs = report["runs"]
    return f"difflab: {runs[0]['name']}" if len(runs) == 1 else f"difflab: {len(runs)} runs"


def embedded(value: Any) -> str:
    """JSON that cannot leave its script element: no <, > or & is written as such (strict: no NaN)."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII, so no U+2028 either
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def totals(report: dict[str, Any]) -> str:
    """The bounds as a plain table, for a reader without scripts."""
    key, label = report["unit"]["key"], report["unit"]["label"]
    rows, results = [], [run["result"] or {} for run in report["runs"]]
    space = list(dict.fromkeys(name for result in results for name in result if is_space_term(name)))
    for run, result in zip(report["runs"], results, strict=True):
        cells = [run["name"]]
        for name in (key, "prior_kl", "transition_kl", "decoder_nll", *space):
            value, error = result.get(name), result.get(f"{name}_se")
            cells.append("not measured" if value is None else f"{value:.4g}" + (f" ± {error:.2g}" if error else ""))
        rows.append("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{escape(text)}</th>" for text in ("run", label, "L_T", "sum L_(t-1)", "L_0", *space))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _filled(name: str, parts: dict[str, str]) -> str:
    """An asset with its {{placeholders}}; one pass: what is put in is not searched for placeholders again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset(name))


def _policy(text: str) -> str:
    return escape(text, quote=True).replace("&#x27;", "'")


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

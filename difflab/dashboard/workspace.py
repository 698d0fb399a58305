"""The sections as a W&B workspace and as a W&B report: the one module that imports wandb_workspaces, which takes seconds."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import wandb_workspaces.reports.v2.interface as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from ..tracker.base import STEP
from . import sections
from .sections import Bars, Choices, Curve, Lines, Panel, Pictures, Section

SYMBOLS = ("So", "Sk", "Sm", "Sc", "Cs")
RUNS = 100  # of one panel: a sweep, not the ten newest of it
READING = (
    "A run set groups runs by their choices, so that what is left inside a group are seeds (and whatever else was not made a choice): a line is "
    "the mean of a group, its band one standard deviation between the group's runs. Ungroup a run set to see single runs. The band is no "
    "standard error of a difference: runs are measured on common examples and noise, and `task=compare` uses that."
)


def workspace(
    unit: str, entity: str, project: str, group: str | None = None, by: Sequence[str] = sections.BY
) -> ws.Workspace:
    """A view of the project's runs (of one sweep: `group`), grouped `by` paths of their config."""
    label = sections.UNITS[unit]
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=name(label, group),
        sections=[_section(section) for section in sections.sections(unit)],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=RUNS),
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Config(path) for path in by],
            order=[expr.Ordering(expr.Summary(unit), ascending=True)],
            pinned_columns=[f"summary:{key}" for key in sections.columns(unit)] + [_column(path) for path in by],
        ),
    )
    made._internal_runset_id = _id("runs")
    _only(made, group)
    return made


def report(
    unit: str, entity: str, project: str, group: str | None = None, by: Sequence[str] = sections.BY
) -> wr.Report:
    """The same panels, each section under what it says. Its run sets name no project (which would ask a server): they are the
    report's own."""
    blocks: list[Any] = [wr.TableOfContents(), wr.MarkdownBlock(text=READING)]
    for section in sections.sections(unit):
        runs = wr.Runset(
            entity="",
            project="",
            name="by their choices",
            groupby=[f"config.{path}" for path in by],
        )
        runs._id = _id("runs", section.name)
        _only(runs, group)
        panels = [_panel(panel, section.name) for panel in section.panels]
        blocks += [wr.H2(text=section.name), wr.MarkdownBlock(text=section.about), wr.PanelGrid(runsets=[runs], panels=panels)]  # fmt: skip
    of = f"of the runs of {group}" if group else "of this project's runs"
    title = name(sections.UNITS[unit], group)
    return wr.Report(
        entity=entity, project=project, title=title, description=f"The bound, term by term, {of}", blocks=blocks, width="fluid"
    )  # fmt: skip


def name(label: str, group: str | None) -> str:
    """Of the view and the report: W&B keeps it below 128 characters and without symbols, = and < among them."""
    plain = "".join("-" if unicodedata.category(c) in SYMBOLS else c for c in (group or "")[-90:])
    return f"difflab, {label}" + (f", {plain}" if plain else "")


def spec(of: ws.Workspace | wr.Report) -> dict[str, Any]:
    """As the library sends it to a server."""
    return of._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)


def workspace_from(spec: Mapping[str, Any]) -> ws.Workspace:
    """The library's own reading of a spec."""
    from wandb_workspaces.workspaces.internal import View

    return ws.Workspace._from_model(View.model_validate(spec))


def report_from(spec: Mapping[str, Any]) -> wr.Report:
    """The library's own reading of a spec."""
    from wandb_workspaces.reports.v2.internal import ReportViewspec

    return wr.Report._from_model(ReportViewspec.model_validate(spec))


def _column(path: str) -> str:
    """A key of the config among the columns: every top-level key holds its value as `value`."""
    first, _, rest = path.partition(".")
    return f"config:{first}.value" + (f".{rest}" if rest else "")


def _only(runs: ws.Workspace | wr.Runset, group: str | None) -> None:
    """Keep the runs of a group. Not by the library's filters: it writes them as a line of Python and changes what = < > and
    quotes in the name become."""
    if group:
        one = expr.Filters(op="=", key=expr.Key(section="run", name="group"), value=group, disabled=False)
        runs._stashed_filters_v2 = expr.filters_tree_to_v2(expr.Filters(op="AND", filters=[one]))
        runs._stashed_filter_string = ""  # what `filters` is: the library then sends the above as it stands


def _section(section: Section) -> ws.Section:
    text = wr.MarkdownPanel(markdown=section.about)
    text._id = _id(section.name, "about")
    # a section's own settings win over the workspace's, and begin with another x axis
    settings = ws.SectionPanelSettings(x_axis=STEP)
    drawn = [text, *(_panel(panel, section.name) for panel in section.panels)]
    return ws.Section(name=section.name, panels=drawn, is_open=True, panel_settings=settings)


def _panel(panel: Panel, section: str) -> Any:
    drawn = DRAWN[type(panel)](panel)
    drawn._id = _id(section, panel.title)
    return drawn


def _lines(panel: Lines) -> wr.LinePlot:
    return wr.LinePlot(
        title=panel.title, x=STEP, y=list(panel.keys), title_x="training step", log_y=panel.log or None,
        groupby_aggfunc="mean", groupby_rangefunc="stddev", max_runs_to_show=RUNS, smoothing_type="none",
    )  # fmt: skip


def _curve(panel: Curve) -> wr.CustomChart:
    (key,) = panel.keys
    # as wandb.plot.line has it in the run, so that the panel is the run's own, over all runs
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{key}_table"}},
        chart_name="wandb/line/v0",
        chart_fields={"x": panel.x, "y": panel.y},
        chart_strings={"title": panel.title},
    )


def _pictures(panel: Pictures) -> wr.MediaBrowser:
    return wr.MediaBrowser(title=panel.title, media_keys=list(panel.keys), num_columns=3)


def _bars(panel: Bars) -> wr.BarPlot:
    keys = [wr.SummaryMetric(key) for key in panel.keys]
    return wr.BarPlot(
        title=panel.title, metrics=cast(Any, keys), groupby_aggfunc="mean", groupby_rangefunc="stddev",
        max_runs_to_show=RUNS, max_bars_to_show=RUNS,
    )  # fmt: skip


def _choices(panel: Choices) -> wr.ParallelCoordinatesPlot:
    of = [*(wr.Config(f"choices.{group}") for group in sections.CHOICES), *map(wr.SummaryMetric, panel.keys)]
    return wr.ParallelCoordinatesPlot(
        title=panel.title, columns=[wr.ParallelCoordinatesPlotColumn(metric=one) for one in of]
    )


DRAWN: dict[type[Panel], Callable[[Any], Any]] = {
    Lines: _lines, Curve: _curve, Pictures: _pictures, Bars: _bars, Choices: _choices,
}  # fmt: skip


def _id(*names: str) -> str:
    """The same spec whenever it is made: the library would draw a random name for each panel."""
    return hashlib.sha256("/".join(names).encode()).hexdigest()[:11]

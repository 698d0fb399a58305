"""A question as a W&B sweep: the same jobs for `wandb sweep` and any number of `wandb agent`s.

A grid becomes one parameter, `job`: its cells need not be a product, and each is the single run in the directory that sweep=NAME
gives it, so a sweep may be begun with one and ended with the other. (W&B plots by the runs' own configuration.) A search
becomes parameters of their own.
"""

from __future__ import annotations

from typing import Any

import yaml

from .plan import Plan
from .question import Question, directory


def configuration(question: Question, plan: Plan, typed: list[str]) -> dict[str, Any]:
    """What `wandb sweep` takes. typed: further overrides, which every job gets."""
    command = ["${env}", "${interpreter}", "-m", "difflab"]
    result: dict[str, Any] = {"name": question.name, "description": question.question}
    metric = {"name": "objective", "goal": "minimize"}
    if plan.search:
        parameters = {key: _range(value) for key, value in plan.search.items()}
        own = [*question.base, *typed]
        return result | {
            "method": "bayes", "metric": metric, "run_cap": plan.trials, "parameters": parameters,
            "command": [*command, *own, "${args_no_hyphens}"],
        }  # fmt: skip
    jobs = {"job": {"values": [job.name for job in plan.jobs]}}
    ours = question.path.parent.resolve() == directory().resolve()
    own = [f"sweep={question.name if ours else question.path.resolve()}", *typed]
    return result | {
        "method": "grid", "metric": metric, "parameters": jobs, "command": [*command, *own, "${args_no_hyphens}"]
    }  # fmt: skip


def text(question: Question, plan: Plan, typed: list[str]) -> str:
    head = f"# {question.question}\n# wandb sweep FILE, then wandb agent ID on every machine, from the directory that holds runs/.\n"
    return head + yaml.safe_dump(configuration(question, plan, typed), sort_keys=False, width=120)


def _range(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"values": value}
    whole = isinstance(value["low"], int) and isinstance(value["high"], int)
    low, high, step = value["low"], value["high"], value.get("step")
    if step:
        return {"distribution": "q_uniform", "q": step, "min": low, "max": high}
    if value.get("log"):
        return {"distribution": "q_log_uniform_values" if whole else "log_uniform_values", "min": low, "max": high} | (
            {"q": 1} if whole else {}
        )
    return {"distribution": "int_uniform" if whole else "uniform", "min": low, "max": high}

"""The model card: README.md as model hubs read it, YAML front matter and Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from ..assemble import Laboratory
from ..console import duration, with_error

GROUPS = (
    "process",
    "schedule",
    "parameterization",
    "variance",
    "decoder",
    "space",
    "objective",
    "timestep",
    "model",
    "optimizer",
)
LINES = 12  # of samples of text


class Drawn(NamedTuple):
    """Samples as the run has shown them: samples.png or samples.txt."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Card:
    """known: the facts of the data; result: of the bound ({}: none was measured), table: as printed; scheduler: of diffusers, or `why` there is none."""

    lab: Laboratory
    known: Mapping[str, Any]
    step: int
    weights: str
    license: str | None
    result: Mapping[str, Any]
    table: str | None
    drawn: Drawn | None
    scheduler: Mapping[str, Any] | None
    why: list[str]

    def text(self) -> str:
        parts = [
            self._front(),
            f"# {self.name}",
            self._what(),
            self._bound(),
            self._samples(),
            self._use(),
            self._diffusers(),
        ]
        return "\n\n".join(part.strip("\n") for part in [*parts, self._choices(), self._files()] if part) + "\n"

    @property
    def name(self) -> str:
        return f"{self._option('data')}, {self._option('model')}: a diffusion model and its bound"

    def _option(self, group: str) -> str:
        config = self.lab.config
        return str(config.get("choices", {}).get(group) or config[group]["name"])

    @property
    def _pictures(self) -> bool:
        return len(self.lab.data.shape) == 3 and self.lab.data.shape[0] in (1, 3)

    # -- front matter ---------------------------------------------------------------------------------------------

    def _front(self) -> str:
        unit, data = self.lab.diffusion.unit, self._option("data")
        matter: dict[str, Any] = {"license": self.license} if self.license else {}
        matter["library_name"] = "difflab"
        if self._pictures and not self.lab.classes:
            matter["pipeline_tag"] = "unconditional-image-generation"
        matter["tags"] = ["difflab", "diffusion", "likelihood", "variational-bound", data]
        if self.result:
            metric = {
                "type": unit.key,
                "name": f"bound on -log p(x), {unit.label}",
                "value": round(self.result[unit.key], 6),
            }
            task = {"type": matter.get("pipeline_tag", "density-estimation")}
            source = {"name": data, "type": data, "split": str(self.result["split"])}
            matter["model-index"] = [
                {"name": self.name, "results": [{"task": task, "dataset": source, "metrics": [metric]}]}
            ]
        text = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)
        unknown = (
            "" if self.license else "# license: yours to choose, such as mit or cc-by-4.0; the data have their own\n"
        )
        return f"---\n{unknown}{text}---"

    # -- sections -------------------------------------------------------------------------------------------------

    def _what(self) -> str:
        lab, config = self.lab, self.lab.config
        trainer, optimizer = config["trainer"], config["optimizer"]
        parameters = sum(p.numel() for p in lab.model.parameters())
        sizes = " / ".join(f"{count:,} {name}" for name, (count, _) in lab.fingerprint.items())
        shape = " x ".join(map(str, lab.data.shape))
        grid = "continuous" if lab.data.levels is None else f"{lab.data.levels} levels"
        seconds = self.result.get("train_seconds")
        compute = self.result.get("compute") or {}
        took = f" in {duration(seconds)}" if seconds else ""
        how = f" ({', '.join(f'{key} {value}' for key, value in compute.items())})" if compute and took else ""
        source = f" ({self.known['source'].rstrip('.')}.)" if self.known["source"] else ""
        average = "the exponential moving average of" if self.weights == "ema" else "the last of, not averaged,"
        label = f", told each example's label (one of {lab.classes})" if lab.classes else ""
        return (
            f"A diffusion model ({self._option('schedule')} schedule, T = {lab.diffusion.schedule.label}, {config['parameterization']['name']} prediction, "
            f"variance {config['variance']['name']}) of `{self._option('data')}`: {sizes} examples, {shape}, {grid}{label}.{source} "
            f"A network of {parameters:,} parameters ({self._option('model')}), trained with difflab for {self.step:,} steps of {trainer['batch_size']} "
            f"examples{took}{how}: objective {self._option('objective')}, {self._option('optimizer')} at {optimizer['lr']:g}, seed {config['seed']}. "
            f"The weights are {average} those of training (ema_decay {trainer['ema_decay']:g}), in float32."
        )

    def _bound(self) -> str:
        unit = self.lab.diffusion.unit
        if not self.result:
            reason = (
                "Bounds are measured with the averaged weights, and these are not." if self.weights != "ema"
                else f"None was measured of these weights (step {self.step:,})."
            )  # fmt: skip
            return f"## The bound\n\n{reason} `run.bound()` below measures it."
        split, number, given = self.result["split"], self.result["examples"], "x|label" if self.lab.classes else "x"
        what = (
            "bits/dim, a bound on a probability"
            if self.lab.data.levels
            else "nats/dim, a bound on a density, which depends on the data's scale and may be negative"
        )
        limits = [
            f"It is an upper bound on -log p({given}), not its value, of {number:,} examples of the {split} split; the errors are standard errors over these "
            "examples and, where t is drawn, the draws.",
            f"It is in {what}; only figures of the same data, resolution and split compare.",
            "The floors are models without a network, fitted on the training split: a bound above them has learned little.",
        ]
        if self.lab.classes:
            limits.append(
                "The network is told the label, for which no bit is counted: it does not compare with a bound on -log p(x)."
            )
        if not self.lab.diffusion.space.identity:
            limits.append("The chain runs in another space; what that adds to make it a bound on x is in the table.")
        if self.result.get("precision", "fp32") != "fp32":
            limits.append(f"It was computed in {self.result['precision']}.")
        figure = f"**{with_error(self.result, unit)} {unit.label}** on {number:,} held-out examples, term by term:"
        items = "\n".join(f"- {line}" for line in limits)
        return f"## The bound\n\n{figure}\n\n```text\n{self.table}\n```\n\n{items}"

    def _samples(self) -> str:
        if self.drawn is None:
            return ""
        if self.drawn.name.endswith(".png"):
            return f"## Samples\n\n![Samples of the model]({self.drawn.name})"
        lines = self.drawn.content.decode("utf-8", "replace").splitlines()[:LINES]
        return "## Samples\n\n```text\n" + "\n".join(line.replace("```", "'''") for line in lines) + "\n```"

    def _use(self) -> str:
        label = ", labels=labels" if self.lab.classes else ""
        kind = "float32" if self.lab.data.levels is None else f"uint8 0..{self.lab.data.levels - 1}"
        shape = ", ".join(map(str, self.lab.data.shape))
        return f"""## Use it

```python
import difflab                                        # pip install difflab

run = difflab.load("PATH_OF_THIS_DIRECTORY")
x = run.sample(64, seed=0)                            # {kind} [64, {shape}]
print(run.bound(examples=200))                        # the table above, of 200 examples; needs the data
own = run.log_likelihood_bound(x{label})  # of your own examples: own.nats ± own.se, own.terms
```

`run.predict(run.noised(x, t), t).x0_hat()` is the network's estimate of x from x_t. On the command line: `python -m difflab task=evaluate run=DIR`, `task=sample run=DIR`; `init=DIR` starts another training from these weights."""

    def _diffusers(self) -> str:
        if self.scheduler is None:
            return "## diffusers\n\n" + "\n".join(f"No scheduler: {sentence}" for sentence in self.why)
        clip = (
            "x0_hat is clipped to [-1, 1] there, as the run's sampler does"
            if self.scheduler["clip_sample"]
            else "x0_hat is not clipped there"
        )
        return f"""## diffusers

`scheduler/` holds this chain as a `DDPMScheduler` ({self.scheduler["prediction_type"]}, {self.scheduler["variance_type"]}; {clip}). Its timestep t is step t + 1 here; the network is told log SNR rather than t, which `run.raw` does:

```python
import torch
from diffusers import DDPMScheduler

scheduler = DDPMScheduler.from_pretrained("PATH_OF_THIS_DIRECTORY", subfolder="scheduler")
scheduler.set_timesteps({min(50, self.scheduler["num_train_timesteps"])})
x = torch.randn(16, {", ".join(map(str, self.lab.shape))})
for t in scheduler.timesteps:
    x = scheduler.step(run.raw(x, int(t) + 1), int(t), x).prev_sample  # in [-1, 1]: run.data.from_unit(x)
```"""

    def _choices(self) -> str:
        rows = [f"| {group} | {self._option(group)} |" for group in GROUPS]
        return (
            "## Choices\n\n| group | option |\n|---|---|\n" + "\n".join(rows) + "\n\n`config.json` holds every value."
        )

    def _files(self) -> str:
        return (
            "`manifest.json` holds the sha256 of every file as it was written, and difflab checks those that it reads (this card is none of them: edit it). "
            "Nothing here is code: safetensors, JSON, a picture."
        )

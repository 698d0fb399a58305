"""What there is to see of runs, in the order in which it is read. The W&B workspace, the W&B report and the page of
task=report take their sections from this one list; a test holds every key of it against what a run really logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

UNITS = {"bpd": "bits/dim", "nats_per_dim": "nats/dim"}  # gaussian.BITS and NATS, without torch
BUCKETS = 16  # figure.curve's
CHOICES = ("data", "schedule", "parameterization", "variance", "model", "objective", "timestep")  # a run's tags
BY = (*(f"choices.{group}" for group in CHOICES), "schedule.T")  # paths of the run's config: seeds are what is left
PICTURES, SPACE = "pictures", "space"  # Panel.only


@dataclass(frozen=True)
class Panel:
    """`keys` as a run logs them. `only`: what a run must be of to log them (empty: any run of the unit)."""

    title: str
    keys: tuple[str, ...]
    only: str = ""


@dataclass(frozen=True)
class Lines(Panel):
    """Scalars over trainer/step."""

    log: bool = False


@dataclass(frozen=True)
class Curve(Panel):
    """A table that is logged as a line, the last one of every run overlaid: column `y` over column `x`."""

    x: str = ""
    y: str = ""


@dataclass(frozen=True)
class Pictures(Panel):
    """Pictures (of text: tables of lines), a run beside the other."""


@dataclass(frozen=True)
class Bars(Panel):
    """Values of the summary, a bar for each run or group."""


@dataclass(frozen=True)
class Choices(Panel):
    """Every run as a line through its choices (paths of its config) to the summary's `keys`."""


@dataclass(frozen=True)
class Section:
    """`about`: how to read it, in words for the report as well as for the page."""

    name: str
    about: str
    panels: tuple[Panel, ...]


def sections(unit: str) -> tuple[Section, ...]:
    """The sections for runs that are measured in UNITS[unit]."""
    label = UNITS[unit]
    return (
        Section(
            "Bound",
            f"The bound on -log p(x) in {label}, lower is better: L = L_T + sum L_(t-1) + L_0, prior, transitions and decoder. "
            "val is measured on the validation split while training, test once at the end; both with the averaged weights, "
            "and all runs on the same noise, so that differences of runs are far surer than the runs themselves.",
            (
                Bars(f"Bound, test split ({label})", (unit,)),
                Bars(f"Its terms, test split: L_T, sum L_(t-1), L_0 ({label})", ("prior_kl", "transition_kl", "decoder_nll")),
                Choices(f"From the choices to the bound ({label})", (unit,)),
                Lines(f"Bound, validation ({label})", (f"val/{unit}",)),
                Lines(f"L_T, prior KL ({label})", ("val/prior_kl",), log=True),
                Lines(f"sum L_(t-1), transition KL ({label})", ("val/transition_kl",)),
                Lines(f"L_0, decoder ({label})", ("val/decoder_nll",)),
                Lines(f"Standard error of the bound over examples ({label})", (f"val/{unit}_se",)),
                Bars(f"Best validation ({label})", (f"best/val_{unit}",)),
            ),
        ),
        Section(
            "Terms per t",
            "Where the bound is paid. t = 1 is next to the data (L_0, the decoder), t = T next to noise. Over t, every step of the chain "
            "counts the same; over log SNR, the area under a curve is its part of the bound, so that runs of two schedules can be compared "
            f"there and nowhere else. The {BUCKETS} groups are sums over equal parts of 1..T; with L_T they add up to the bound.",
            (
                Curve(f"L_(t-1) of one step over t ({label})", ("bound/per_t",), x="t", y="L_t"),
                Curve(f"L_(t-1) per unit of log SNR ({label})", ("bound/per_log_snr",), x="log_snr", y="L_per_log_snr"),
                *(
                    Lines(f"{_part(k)} of the chain: t in {_interval(k)} ({label})", (f"bound/bucket_{k:02d}",))
                    for k in range(BUCKETS)
                ),
                Pictures("L_t over t and training step", ("bound/heatmap",)),
                Pictures("Term by term, test split", ("bound/figure", "bound/figure_log_snr")),
                Pictures("Fewer steps; rate and distortion", ("bound/chains", "bound/rate_distortion")),
                Pictures("Mean error over t and frequency", ("bound/bands",), only=PICTURES),
            ),
        ),
        Section(
            "Variance",
            "The transitions' KL splits exactly into the error of the mean and what the reverse variance adds (its mismatch). The same mean "
            "can be scored with every other variance without another network call: what the best isotropic variance of each t would "
            "give bounds what any choice of an isotropic variance can gain.",
            (
                Lines(f"Mean error ({label})", ("val/mean_error",)),
                Lines(f"Variance mismatch ({label})", ("val/variance_mismatch",)),
                Lines(f"Bound with the best isotropic variance ({label})", (f"val/{unit}_optimal_variance",)),
                Pictures("The same mean with other variances", ("bound/variances",)),
            ),
        ),
        Section(
            "Space",
            "For runs whose chain lives in another space than the data's (whiten, pca, autoencoder): what has to be added to the bound on z "
            "to make it one on x. Empty for all others.",
            (
                *(
                    Lines(f"{name.capitalize()} ({label})", (f"val/space_{name}",), only=SPACE)
                    for name in ("volume", "residual", "reconstruction", "entropy")
                ),
                Bars(f"What the chain gains over its prior, test split ({label})", ("chain_gain",), only=SPACE),
            ),
        ),
        Section(
            "Samples",
            "From fixed noise with the averaged weights, so that pictures of two runs can be compared one by one: a few steps at each "
            "validation, the full sampler at the end. A better bound need not mean better pictures, nor the reverse.",
            (
                Pictures("At each validation", ("sample/grid",)),
                Pictures("At the end", ("sample/final",)),
            ),
        ),
        Section(
            "Training",
            "What is optimised: the objective in its own units, which two objectives do not share, and an unbiased running estimate of the "
            "bound from the sampled t, which they do. A gradient norm above trainer.grad_clip is clipped.",
            (
                Lines(f"Bound, training steps ({label})", (f"train/{unit}",)),
                Lines("Loss, in the objective's units", ("train/loss",)),
                Lines("Gradient norm", ("train/grad_norm",), log=True),
                Lines("Learning rate", ("train/lr",)),
            ),
        ),
        Section(
            "Speed",
            "Examples a second and memory while training; seconds of training, validation and the final measurement, and the network "
            "evaluations that the measurement took. Comparable on one machine with nothing else running.",
            (
                Lines("Examples a second", ("train/images_per_s",)),
                Lines("Memory (GB)", ("train/memory_gb",)),
                Bars("Seconds of training, validation, final measurement", ("train_seconds", "validate_seconds", "evaluate_seconds")),
                Bars("Network evaluations of the measurement", ("nfe",)),
            ),
        ),
    )  # fmt: skip


def _part(k: int) -> str:
    return f"{k + 1}. {BUCKETS}th"


def _interval(k: int) -> str:
    return f"({k}, {k + 1}]/{BUCKETS} T"


def panels(unit: str) -> Iterator[Panel]:
    """Of all sections, in their order."""
    for section in sections(unit):
        yield from section.panels


def columns(unit: str) -> tuple[str, ...]:
    """What of a run's summary stands beside its name."""
    return (unit, f"{unit}_se", f"best/val_{unit}", "objective")


def left_out(unit: str) -> dict[str, str]:
    """Logged keys that no panel shows (* stands for any name), and why."""
    return {
        "val/*_se": f"a line of W&B has no error bars, and the bound's own, val/{unit}_se, is shown; task=report draws them",
        "train/skipped": "a count that is nought; it is logged only with trainer.skip_nonfinite",
        "trainer/step": "the x axis",
    }

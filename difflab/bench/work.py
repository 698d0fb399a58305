"""What is measured, and how long the suite takes over it."""

from __future__ import annotations

from dataclasses import dataclass

SECTIONS = ("start", "peaks", "works", "population", "levers", "scaling")  # methods of __main__.Suite
Shape = tuple[int, int, int]  # channels, height, width
PICTURE: Shape = (3, 32, 32)


@dataclass(frozen=True)
class Kind:
    """A kind of work: the method of Contender that does it (`name`), what it is called, what is counted, the ratio of
    the issue's target and aim, and whether it goes forward only."""

    name: str
    title: str
    unit: str
    reach: float
    aim: float
    forward: bool = True


KINDS = {
    kind.name: kind
    for kind in (
        Kind("train", "training step (forward, loss with learned variance, backward, AdamW, EMA)", "images/s", 4, 5, False),
        Kind("bound", "full bound (every term's KL or likelihood)", "nfe/s", 4, 6),
        Kind("ancestral", "ancestral sampling", "nfe/s", 4, 5),
        Kind("ddim", "DDIM sampling", "nfe/s", 4, 5),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One kind of work on pictures of one shape in batches of one size."""

    kind: str
    batch: int
    shape: Shape = PICTURE

    @property
    def title(self) -> str:
        size = " x ".join(map(str, self.shape))
        return f"{KINDS[self.kind].title}, {size}, batch {self.batch}"


@dataclass(frozen=True)
class Length:
    """How much is measured: seconds are of one block, examples and sizes of what the sections need."""

    rounds: int
    block_seconds: float
    works: tuple[Work, ...]
    compile: bool  # whether a minute of compiling fits
    train_seconds: float  # for the checkpoint of the population bound
    target_se: float  # of the population bound, bits/dim
    probe_examples: int  # whose two draws tell the variance between examples
    sweeps: dict[str, tuple[int, ...]]  # scaling: see scaling.py
    start_runs: int
    peak_seconds: float  # of each try
    precisions: tuple[str, ...]  # of the evaluations to the target
    fixed_kinds: tuple[str, ...]  # works in which the peers are measured with the allocator fixed, too
    sections: tuple[str, ...]  # what is run unless --only says otherwise
    loop_batch: int  # of the peers' loop over all t


FULL = Length(
    rounds=5,
    block_seconds=0.5,
    works=(Work("train", 32), Work("train", 128), Work("bound", 128), Work("ancestral", 64), Work("ddim", 64)),
    compile=True,
    train_seconds=120,
    target_se=0.01,
    probe_examples=256,
    sweeps={"T": (64, 256, 1024), "N": (4, 16, 64), "size": (16, 32, 64), "batch": (16, 64, 256)},
    start_runs=5,
    peak_seconds=0.3,
    precisions=("auto", "fp32"),
    fixed_kinds=tuple(KINDS),
    sections=SECTIONS,
    loop_batch=128,
)
QUICK = Length(
    rounds=3,
    block_seconds=0.5,
    works=(Work("train", 32), Work("bound", 32), Work("ancestral", 32), Work("ddim", 32)),
    compile=False,
    train_seconds=15,
    target_se=0.03,
    probe_examples=48,
    sweeps={"T": (64, 256), "N": (4, 16)},
    start_runs=3,
    peak_seconds=0.1,
    precisions=("auto",),
    fixed_kinds=("train",),
    sections=("start", "peaks", "works", "population"),
    loop_batch=32,
)
LENGTHS: dict[str, Length] = {"full": FULL, "quick": QUICK}

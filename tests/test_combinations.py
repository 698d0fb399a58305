"""Every choice works with every other: a covering array of all pairs of options trains, is measured and samples."""

from __future__ import annotations

import math
from itertools import combinations, product

import pytest
import torch

from difflab.assemble import assemble
from difflab.bound import ledger
from difflab.bound.estimator import evaluate
from difflab.config.compose import composer, plain
from difflab.config.pairs import check_pairs
from difflab.config.schema import conf_directory, load_schema
from difflab.errors import NotDefined
from difflab.train.lessons import lessons
from difflab.train.trainer import Settings, Trainer

FACTORS = {
    "data": ["digits", "dead_leaves", "heartbeat", "gaussian", "swiss_roll"],
    "model": ["unet_small", "unet", "dit_small", "uvit", "mlp"],
    "process": ["gaussian", "binomial", "categorical", "absorbing"],
    "schedule": ["linear", "cosine", "sigmoid", "log_linear", "linear_abar", "learned"],
    "model.num_classes": ["null", "auto"],
    "schedule.zero_terminal": ["false", "true"],
    "parameterization": ["eps", "x0", "mu", "v"],
    "variance": ["fixed_beta", "fixed_beta_tilde", "learned_range", "learned_diagonal", "optimal", "none"],
    "objective": ["simple", "vlb", "hybrid", "min_snr", "p2", "sigmoid"],
    "decoder": ["discretized_gaussian", "categorical", "gaussian", "learned_gaussian", "states"],
    "timestep": ["uniform", "stratified", "importance", "full_chain"],
    "sampler": ["ancestral", "ddim", "conditioned"],
    "bound": ["exhaustive", "stratified"],
    "optimizer": ["adam", "adamw"],
    "space": ["identity", "whiten", "pca", "autoencoder"],
    "augmentation": ["none", "flip", "shift"],
}
TINY = {
    "unet_small": ["model.channels=8", "model.channel_mult=[1,2]", "model.groups=2", "model.embedding=16"],
    "unet": ["model.channels=8", "model.channel_mult=[1,2]", "model.blocks=1", "model.groups=2", "model.embedding=16", "model.attention=[]"],
    "dit_small": ["model.width=32", "model.depth=1", "model.embedding=16"],
    "uvit": ["model.width=32", "model.depth=3", "model.embedding=16"],
    "mlp": ["model.width=16", "model.embedding=16"],
}  # fmt: skip
FEW = {"dead_leaves": ["data.train_size=300", "data.val_size=8", "data.test_size=8"]}
STATES = {"parameterization": "x0", "variance": "none", "decoder": "states", "objective": "vlb", "sampler": "ancestral"}
PICTURES, LEVELS, LABELS = ("digits", "dead_leaves"), ("digits", "heartbeat"), ("digits", "heartbeat")
OF_SPACE = {
    "pca": ["space.k=2"], "autoencoder": ["space.steps=1", "space.width=4", "space.batch_size=8", "space.channels=2"]
}  # fmt: skip
SMALL = [
    "schedule.T=30", "trainer.steps=2", "trainer.batch_size=8", "trainer.log_every=1", "bound.examples=4", "sampler.count=2",
    "sampler.steps=3", "tracker=none",
]  # fmt: skip


def refused(row: dict[str, str]) -> bool:
    """contract.md's table, written down again: what the product must not define."""
    between_states = (
        row.get("process", "gaussian") != "gaussian" or row.get("variance") == "none" or row.get("decoder") == "states"
    )
    gaussian = row.get("process") == "gaussian" or any(row.get(group, name) != name for group, name in STATES.items())
    kept = row.get("schedule.zero_terminal") == "false" and row.get("schedule", "linear_abar") != "linear_abar"
    possible = [
        data
        for data in ([row["data"]] if "data" in row else FACTORS["data"])
        for space in ([row["space"]] if "space" in row else FACTORS["space"])
        if (row.get("model.num_classes") != "auto" or data in LABELS)
        and ("model" not in row or _pictures(data, space) == (row["model"] != "mlp"))
        and (
            "decoder" not in row
            or row["decoder"] == "learned_gaussian"
            or (data in LEVELS and space == "identity") == (row["decoder"] != "gaussian")
        )
        and (data in PICTURES or (space != "autoencoder" and row.get("augmentation", "none") == "none"))
        and (space == "identity" or not (between_states or row.get("sampler") == "conditioned"))
        and (not between_states or data in LEVELS)
        and (row.get("process") != "binomial" or data == "heartbeat")
    ]
    learned = [row[group] for group in ("variance", "decoder") if row.get(group, "").startswith("learned")]
    taught = row.get("objective") != "simple" or not learned
    to_zero = row.get("schedule.zero_terminal") == "true" or row.get("schedule") == "linear_abar"
    blind = row.get("parameterization") == "eps" and to_zero
    unmasked = row.get("process") == "absorbing" and kept
    moving = row.get("schedule") == "learned" and (
        row.get("objective", "vlb") != "vlb" or row.get("schedule.zero_terminal") == "true" or between_states
    )
    return not taught or blind or moving or unmasked or (between_states and gaussian) or not possible


def typed(row: dict[str, str]) -> list[str]:
    """The row as overrides; some schedules have no such key as zero_terminal."""
    without = row["schedule"] in ("linear_abar", "learned")
    return [f"{k}={v}" for k, v in row.items() if k != "schedule.zero_terminal" or not without]


def _pictures(data: str, space: str) -> bool:
    """Whether the network sees pictures."""
    return data in PICTURES and space in ("identity", "autoencoder")


def covering_array() -> list[dict[str, str]]:
    """Greedy: rows until every pair of options that may stand together has stood together."""
    names = list(FACTORS)
    todo = {
        frozenset([(a, x), (b, y)])
        for a, b in combinations(names, 2)
        for x, y in product(FACTORS[a], FACTORS[b])
        if not refused({a: x, b: y})
    }
    rows = []
    while todo:
        row = dict(min(todo, key=sorted))
        for name in names:
            if name not in row:
                options = [x for x in FACTORS[name] if not refused(row | {name: x})]
                row[name] = max(
                    options, key=lambda x, name=name: sum(p <= set((row | {name: x}).items()) for p in todo)
                )
        todo -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        rows.append({name: row[name] for name in names})
    return rows


ROWS = covering_array()


def config_of(overrides: list[str]) -> dict:
    schema = load_schema()
    with composer(conf_directory(), schema) as composing:
        return plain(composing.compose(overrides))


def test_the_covering_array_is_small_and_complete() -> None:
    assert len(ROWS) <= 80
    seen = {frozenset(pair) for row in ROWS for pair in combinations(row.items(), 2)}
    assert frozenset([("parameterization", "mu"), ("variance", "learned_diagonal")]) in seen
    assert not any(refused(row) for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_every_pair_of_options_trains_and_is_measured(row: dict[str, str]) -> None:
    lab = assemble(
        config_of(typed(row) + TINY[row["model"]] + FEW.get(row["data"], []) + OF_SPACE.get(row["space"], []) + SMALL)
    )
    if not (space := lab.diffusion.space).ready:
        list(space.learn(lessons(lab.data.train.x, lab.data.to_unit, lab.device, 0), {}))
    before = {name: p.clone() for name, p in lab.model.named_parameters()}
    trainer = Trainer(
        lab.diffusion, lab.objective, lab.timestep, lab.optimizer, lab.data.train.x, lab.data.to_unit,
        Settings(**lab.config["trainer"]), 0, lab.device, lab.data.train.label, lab.augmentation,
    )  # fmt: skip
    rows = []
    trainer.run(rows.append)
    assert trainer.step == 2 and all(math.isfinite(value) for row in rows for value in row.values())
    assert any(not torch.equal(p, before[name]) for name, p in lab.model.named_parameters())
    estimate = evaluate(trainer.averaged, lab.examples(lab.data.val), lab.bound)
    table = ledger.build(estimate)
    key = table.unit.key
    assert math.isfinite(table.totals[key])
    assert table.columns[key].sum() == pytest.approx(table.totals[key], rel=1e-6)
    sampler = lab.sampler.given(lab.examples(lab.data.test), 0)
    label = sampler.labels(lab.classes, 0) if lab.classes else None
    x = sampler.arranged(space.decode(sampler.sample(trainer.averaged, lab.shape, 0, label=label)))
    assert len(x) >= 2 and x.shape[1:] == lab.data.shape and bool(x.isfinite().all())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["objective=simple", "variance=learned_range"], "objective=simple"),
        (["objective=simple", "variance=learned_diagonal"], "objective=simple"),
        (
            ["objective=simple", "variance=fixed_beta", "decoder=learned_gaussian"],
            "decoder=learned_gaussian no gradient",
        ),
        (["objective=hybrid", "schedule=learned"], "objective=hybrid easy; set objective=vlb"),
        (["objective=min_snr", "objective.vlb_weight=0.0"], "objective.vlb_weight=0.001"),
        (["objective=p2", "objective.vlb_weight=0.0", "variance=learned_diagonal"], "objective.vlb_weight=0.001"),
        (["parameterization=eps", "schedule.zero_terminal=true"], "leaves no signal at t = T"),
        (["parameterization=eps", "schedule=linear_abar"], "says nothing of x_0 at t = 1000"),
        (["process=absorbing", "schedule=cosine"], "schedule=linear_abar"),
        (["process=binomial"], "process=categorical"),
        (["process=categorical", "data=swiss_roll"], "process=gaussian"),
        (
            ["process=categorical", "variance=learned_range"],
            "variance=learned_range is nothing for process=categorical",
        ),
        (["process=categorical", "objective=hybrid"], "objective=hybrid is nothing for process=categorical"),
        (["process=categorical", "parameterization=v"], "parameterization=v is nothing for process=categorical"),
        (["process=categorical", "sampler=ddim"], "sampler=ddim is nothing for process=categorical"),
        (["process=categorical", "decoder=categorical"], "decoder=categorical is nothing for process=categorical"),
        (["process=categorical", "bound.clip_x0=true"], "bound.clip_x0=true"),
        (["process=categorical", "sampler.steps=optimal:10"], "sampler.steps=optimal:10"),
        (["schedule.T='inf'"], "variance=fixed_beta"),
        (["schedule.T='inf'", "variance=learned_diagonal"], "variance=learned_diagonal would be fitted to L_0 alone"),
        (["schedule.T='inf'", "variance=fixed_beta", "parameterization=mu"], "parameterization=v"),
        (["schedule.T='inf'", "variance=fixed_beta", "timestep=full_chain"], "timestep.markov=false"),
        (["schedule.T='inf'", "variance=fixed_beta", "sampler.steps=optimal:10"], "no jump of schedule.T=inf"),
        (
            ["schedule.T='inf'", "schedule.zero_terminal=true", "variance=fixed_beta", "parameterization=eps"],
            "set parameterization=v",
        ),
        (["process=absorbing", "schedule.T='inf'"], "continuous time of process=gaussian"),
        (["variance=none"], "variance=none is nothing for process=gaussian"),
        (["decoder=states"], "decoder=states is nothing for process=gaussian"),
        (["data=swiss_roll", "decoder=discretized_gaussian"], "decoder=gaussian"),
        (["data=swiss_roll", "decoder=categorical"], "decoder=gaussian"),
        (["data=dead_leaves", "decoder=discretized_gaussian"], "decoder=gaussian"),
        (["data=dead_leaves", "bound.clip_x0=true"], "bound.clip_x0=false"),
        (["data=dead_leaves", "model=mlp"], "unet"),
        (["data=dead_leaves", "model.num_classes=auto"], "model.num_classes=null"),
        (["trainer.label_dropout=0.1"], "trainer.label_dropout=0.0"),
        (["data=swiss_roll", "augmentation=flip"], "augmentation=flip takes pictures .* set augmentation=none"),
        (["data=heartbeat", "augmentation=shift"], "augmentation=shift takes pictures .* set augmentation=none"),
        (["data=text", "augmentation=flip"], r"shape \[1, 1, 64\]; set augmentation=none"),
        (["space=pca", "process=categorical"], "set space=identity"),
        (["space=pca", "sampler=conditioned"], "set sampler=ancestral"),
        (["space=pca", "decoder=categorical"], "the z of space=pca is continuous; set decoder=gaussian"),
        (["space=pca", "model=unet_small"], "mlp"),
        (["space=autoencoder", "model=mlp"], "unet"),
        (["data=swiss_roll", "space=autoencoder"], "space=autoencoder takes pictures"),
        (["space=whiten", "bound.clip_x0=true"], "bound.clip_x0=false"),
        (["data=digits", "decoder=gaussian"], "decoder=discretized_gaussian"),
        (["data=swiss_roll", "bound.clip_x0=true"], "bound.clip_x0=false"),
        (["data=swiss_roll", "validation.clip_x0=true"], "validation.clip_x0=false"),
        (["data=swiss_roll", "model=unet_small"], "mlp"),
        (["data=digits", "model=mlp"], "unet"),
        (["data=heartbeat", "model=unet_small"], "mlp"),
        (["data=text", "model=mlp"], "unet"),
        (["data=text", "decoder=gaussian"], "decoder=discretized_gaussian"),
        (["data=heartbeat", "decoder=gaussian"], "decoder=discretized_gaussian"),
    ],
)
def test_each_refused_pair_gives_its_sentence(overrides: list[str], words: str) -> None:
    with pytest.raises(NotDefined, match=words) as caught:
        assemble(config_of([*overrides, "tracker=none"]))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_conditioning_is_refused_where_the_process_has_no_gaussians() -> None:
    for group in ("sampler", "sampler@preview"):
        config = config_of([f"{group}=conditioned", "tracker=none"])
        check_pairs(config)
        with pytest.raises(NotDefined, match="process=other has none"):
            check_pairs(config | {"process": {"name": "other"}})

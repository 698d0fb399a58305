"""A data set's YAML names the model and decoder that suit it; a recipe and what is typed win over both."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from difflab.build import parameters, variant

CONF = Path(__file__).resolve().parents[2] / "conf"
NAMES = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
VECTORS = {"gaussian", "gaussian_mixture", "swiss_roll"}
CONTINUOUS = VECTORS | {"dead_leaves"}
MODELS = dict.fromkeys((*VECTORS, "heartbeat"), "mlp") | {"text": "dit_text"}  # of sets that do not bring unet_small


@pytest.fixture
def composed(tmp_path):
    """composed(*overrides) -> (model, decoder, data): the real data files among bare models and decoders."""
    shutil.copytree(CONF / "data", tmp_path / "data")
    for group, names in {
        "model": ["mlp", "unet_small", "unet", "dit_text"],
        "decoder": ["gaussian", "discretized_gaussian"],
        "trainer": ["default", "vectors"],
        "features": ["classifier", "pixels"],
        "sampler": ["ancestral", "ancestral_cloud", "ddim", "ddim_cloud"],
    }.items():
        (tmp_path / group).mkdir()
        for name in names:
            (tmp_path / group / f"{name}.yaml").write_text(f"name: {name}\n")
    (tmp_path / "experiment").mkdir()
    recipe = "# @package _global_\ndefaults:\n  - override /data: swiss_roll\n  - override /model: unet\n"
    (tmp_path / "experiment" / "recipe.yaml").write_text(recipe)
    before = ["model: unet", "decoder: gaussian", "trainer: default", "sampler: ancestral", "sampler@preview: ddim"]
    lines = [*before, "features: classifier", "data: digits", "experiment: null", "_self_"]
    defaults = "defaults:\n" + "".join(f"  - {line}\n" for line in lines)
    (tmp_path / "config.yaml").write_text(defaults)

    def composed(*overrides: str):
        with initialize_config_dir(str(tmp_path), version_base=None):
            config = compose("config", list(overrides))
        return config.model.name, config.decoder.name, config.data.name

    return composed


@pytest.mark.parametrize("name", NAMES)
def test_data_alone_brings_its_model_and_decoder(composed, name):
    decoder = "gaussian" if name in CONTINUOUS else "discretized_gaussian"
    assert composed(f"data={name}") == (MODELS.get(name, "unet_small"), decoder, name)


def test_vectors_bring_larger_batches_and_points_clouds_of_samples():
    for name in NAMES:
        chosen = (CONF / "data" / f"{name}.yaml").read_text()
        assert ("trainer: vectors" in chosen) == (MODELS.get(name) == "mlp")
        assert chosen.count("_cloud") == (2 if name in VECTORS else 0)


def test_what_is_typed_wins_in_any_order(composed):
    assert composed() == ("unet_small", "discretized_gaussian", "digits")
    assert composed("data=swiss_roll", "model=unet") == ("unet", "gaussian", "swiss_roll")
    assert composed("model=unet", "data=swiss_roll") == ("unet", "gaussian", "swiss_roll")
    assert composed("data=mnist", "decoder=gaussian") == ("unet_small", "gaussian", "mnist")


def test_an_experiment_wins_over_the_data_set_and_loses_to_what_is_typed(composed):
    assert composed("experiment=recipe") == ("unet", "gaussian", "swiss_roll")
    assert composed("experiment=recipe", "model=mlp") == ("mlp", "gaussian", "swiss_roll")
    assert composed("experiment=recipe", "data=digits") == ("unet", "discretized_gaussian", "digits")


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_parameters_and_need_nothing_of_the_run(make, name):
    context, keys = parameters(variant("data", name))
    assert context == []
    text = (CONF / "data" / f"{name}.yaml").read_text()
    values = [line for line in text.splitlines() if line[0].islower() and not line.startswith(("defaults", "name"))]
    assert sorted(line.split(":")[0] for line in values) == sorted(keys)
    assert all("#" in line for line in values)


def test_importing_data_imports_nothing_heavy():
    code = (
        "import sys, difflab.data, difflab.data.digits, difflab.data.image_folder, difflab.data.swiss_roll;"
        "heavy = 'hydra omegaconf matplotlib wandb PIL sklearn torchvision scipy'.split();"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"

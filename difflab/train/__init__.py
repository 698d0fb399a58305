"""The training loop. It knows no theory, no Hydra and no W&B."""

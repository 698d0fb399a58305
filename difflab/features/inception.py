"""The pooled 2,048 features of the Inception network of FID (Heusel et al. 2017), from weights that the user has."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data.base import Data
from ..errors import ConfigError, NotDefined
from ..files import UNREADABLE
from .base import Features

FILE = "weights-inception-2015-12-05-6726825d.pth"  # as torch-fidelity publishes them
WIDTH = 2048


class Inception(Features):
    """weights: torch-fidelity's file of them; nothing is downloaded."""

    key = "frechet_inception"
    title = "Inception FID"

    def __init__(self, data: Data, *, weights: str | None) -> None:
        super().__init__(data)
        if len(data.shape) != 3:
            raise NotDefined(
                f"features=inception reads pictures, and the data's shape is {list(data.shape)}; set features=pixels."
            )
        if data.shape[0] not in (1, 3):
            raise NotDefined(
                f"features=inception reads grey or RGB pictures, and these have {data.shape[0]} channels; set features=pixels."
            )
        if weights is None:
            raise ConfigError(
                f"features.weights=null: features=inception needs torch-fidelity's {FILE}, and nothing is downloaded; give features.weights=FILE, or "
                "set features=classifier."
            )
        if not Path(weights).is_file():
            raise ConfigError(f"features.weights={weights}: there is no such file; give torch-fidelity's {FILE}.")
        self.weights = Path(weights)

    def prepare(self, device: torch.device, on_batch: Callable[[int, int], None]) -> None:
        super().prepare(device, on_batch)
        self.sha256 = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        try:
            tensors = torch.load(self.weights, map_location="cpu", weights_only=True)
            self.network = self._network(tensors).to(device)
        except ConfigError:
            raise
        except (*UNREADABLE, pickle.UnpicklingError) as error:
            why = " ".join(str(error).split())[:120]
            raise ConfigError(
                f"features.weights={self.weights} are not the weights of FID's Inception network ({why}); give torch-fidelity's {FILE}."
            ) from error
        on_batch(1, 1)

    def _network(self, tensors: dict[str, Tensor]) -> nn.Module:
        """torchmetrics' network, with these weights."""
        if tensors["fc.weight"].shape[1] != WIDTH:
            raise ValueError(f"its last layer reads {tensors['fc.weight'].shape[1]} features")
        try:
            import torch_fidelity  # noqa: F401  # pyright: ignore[reportMissingImports]
            from torchmetrics.image.fid import NoTrainInceptionV3  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ConfigError(
                "features=inception needs torchmetrics and torch-fidelity, which describes the network: pip install torchmetrics torch-fidelity."
            ) from error
        with tempfile.TemporaryDirectory(prefix="difflab-") as directory:
            # torch-fidelity unpickles whatever a file says: it is given a copy that holds tensors alone
            copy = Path(directory) / FILE
            torch.save(tensors, copy)
            return NoTrainInceptionV3("inception-v3-compat", [str(WIDTH)], str(copy))

    @property
    def fingerprint(self) -> str:
        return self.sha256

    def describe(self) -> str:
        return f"{WIDTH:,} of FID's Inception network (weights {self.sha256[:8]})"

    def reduce(self, x0: Tensor) -> Tensor:
        x = self.data.to_pixels(x0)
        return self.network(x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x)

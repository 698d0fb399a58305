"""The last hidden layer of a small classifier, trained on the data's own labels: offline, and no Inception network.

Its weights are a function of the training split and of the values here: it learns on the CPU, on one thread, from a seed of its
own. They are kept in a cache with their sha256 and the data's; another machine's arithmetic may still give others, so a
distance carries the fingerprint of the classifier that it was measured with.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data.base import Data, Split
from ..errors import ConfigError, NotDefined
from ..files import UNREADABLE, write_atomically, write_json
from .base import BATCH, Features

SEED = 0
POOLED = 4  # side to which the last maps are averaged at most


class Network(nn.Module):
    """Three convolutions and a hidden layer; the features are that layer's values before its nonlinearity, which are of mean 0
    and variance 1 in each example: no outlier outweighs the others in a covariance, and distances have a scale."""

    def __init__(self, shape: tuple[int, ...], channels: int, width: int, classes: int) -> None:
        super().__init__()
        side = [min(POOLED, -(-size // 4)) for size in shape[1:]]
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * channels, 2 * channels, 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d((side[0], side[1])), nn.Flatten(), nn.Linear(2 * channels * side[0] * side[1], width),
            nn.LayerNorm(width, elementwise_affine=False),
        )  # fmt: skip
        self.head = nn.Linear(width, classes)

    def features(self, x0: Tensor) -> Tensor:
        return self.body(x0)

    def forward(self, x0: Tensor) -> Tensor:
        return self.head(functional.relu(self.body(x0)))


class Classifier(Features):
    """width: of the hidden layer, the number of features. channels: of the first convolution. steps of batch_size training
    examples, lr: the largest learning rate. cache: a directory for trained ones (None: the user's own)."""

    key = "frechet_classifier"
    title = "Frechet distance in a classifier's features (not Inception FID)"

    def __init__(
        self, data: Data, *, width: int, channels: int, steps: int, batch_size: int, lr: float, cache: str | None
    ) -> None:
        super().__init__(data)
        for name, value in (("width", width), ("channels", channels), ("steps", steps), ("batch_size", batch_size)):
            if value < 1:
                raise ConfigError(f"features.{name}={value} must be at least 1.")
        if not 0 < lr < math.inf:
            raise ConfigError(f"features.lr={lr} must be above 0.")
        if len(data.shape) != 3:
            raise NotDefined(
                f"features=classifier reads pictures, and the data's shape is {list(data.shape)}; set features=pixels."
            )
        if data.classes < 2:
            raise NotDefined("features=classifier learns from labels, and the data have none; set features=pixels.")
        self.values = {"width": width, "channels": channels, "steps": steps, "batch_size": batch_size, "lr": lr}
        self.cache = Path(cache) if cache else default_cache()

    @property
    def place(self) -> Path:
        """Its own directory in the cache: named by all that its weights follow from."""
        return self.cache / f"classifier-{hashlib.sha256(json.dumps(self._made_from).encode()).hexdigest()[:16]}"

    @property
    def _made_from(self) -> dict[str, Any]:
        data = self.data
        splits = {split.name: [len(split), split.spot_sha256] for split in (data.train, data.test)}
        return {
            "values": self.values,
            "shape": list(data.shape),
            "levels": data.levels,
            "classes": data.classes,
        } | splits

    @property
    def fingerprint(self) -> str:
        return self.record["sha256"]

    @property
    def facts(self) -> dict[str, Any]:
        return {key: self.record[key] for key in ("accuracy", "accuracy_se", "test_examples")}

    def describe(self) -> str:
        record = self.record
        return (
            f"{self.values['width']} of a classifier that knows {record['accuracy']:.1%} ± {record['accuracy_se']:.1%} of "
            f"{record['test_examples']:,} test examples"
        )

    def prepare(self, device: torch.device, on_batch: Callable[[int, int], None]) -> None:
        super().prepare(device, on_batch)
        network = self._new()
        if not self._loaded(network):
            self._learn(network, on_batch)
            self._save(network)
        self.network = network.eval().requires_grad_(False).to(device)

    def reduce(self, x0: Tensor) -> Tensor:
        return self.network.features(x0)

    def _new(self) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return Network(self.data.shape, self.values["channels"], self.values["width"], self.data.classes)

    def _learn(self, network: Network, on_batch: Callable[[int, int], None]) -> None:
        steps, size, train = self.values["steps"], self.values["batch_size"], self.data.train
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.values["lr"])
        rows = shuffled(len(train), size)
        with one_thread():
            for step in range(steps):
                # a rise over a tenth of the steps, then half a cosine down to 0
                rise = min(1.0, (step + 1) / (0.1 * steps))
                optimizer.param_groups[0]["lr"] = (
                    self.values["lr"] * rise * 0.5 * (1 + math.cos(math.pi * step / steps))
                )
                batch = next(rows)
                loss = functional.cross_entropy(network(self.data.to_unit(train.x[batch])), train.label[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                on_batch(step + 1, steps)

    def _save(self, network: Network) -> None:
        from safetensors.torch import save

        data = save({name: value.contiguous() for name, value in network.state_dict().items()})
        accuracy, count = self._accuracy(network.eval(), self.data.test)
        self.record = {
            "sha256": hashlib.sha256(data).hexdigest(), "accuracy": accuracy,
            "accuracy_se": math.sqrt(accuracy * (1 - accuracy) / count), "test_examples": count, "made_from": self._made_from,
        }  # fmt: skip
        try:
            write_atomically(self.place / "model.safetensors", lambda file: file.write(data), binary=True)
            write_json(self.place / "record.json", self.record)
        except OSError as error:
            raise ConfigError(
                f"{self.place} cannot be written ({error.strerror}): set features.cache to a directory that can."
            ) from error

    def _loaded(self, network: Network) -> bool:
        """Whether the cache has it. What is damaged there is made again, and comes out the same."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        if not (self.place / "record.json").exists():
            return False
        with suppress(*UNREADABLE, SafetensorError):
            self.record = json.loads((self.place / "record.json").read_bytes())
            data = (self.place / "model.safetensors").read_bytes()
            if self.record["sha256"] == hashlib.sha256(data).hexdigest() and self.facts:
                network.load_state_dict(load(data))
                return True
        print(f"the classifier in {self.place} is damaged, so it is trained again", file=sys.stderr, flush=True)
        return False

    @torch.no_grad()
    def _accuracy(self, network: Network, split: Split) -> tuple[float, int]:
        right = 0
        for rows in torch.arange(len(split)).split(BATCH):
            found = network(self.data.to_unit(split.x[rows])).argmax(1)
            right += int((found == split.label[rows]).sum())
        return right / len(split), len(split)


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "difflab" / "features"


def shuffled(count: int, size: int) -> Iterator[Tensor]:
    """Batches of positions, int64 [size], pass after pass, each in an order of its own; the seed's alone."""
    generator, left = torch.Generator().manual_seed(SEED), torch.empty(0, dtype=torch.int64)
    while True:
        while len(left) < size:
            left = torch.cat([left, torch.randperm(count, generator=generator)])
        yield left[:size]
        left = left[size:]


@contextmanager
def one_thread() -> Iterator[None]:
    """Another number of threads adds in another order, and training ends in other weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Dead leaves (Jeulin 1997; Lee, Mumford & Huang 2001): opaque disks of every size that hide each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .base import Data, density_floors, draw_splits, save_grid, white

CHUNK = 256  # pictures drawn together; a part of the definition: another number gives other pictures
ROUND = 32  # disks between two looks at which pictures are covered; likewise


class DeadLeaves(Data):
    """Pictures [1, size, size]: positions uniform, radii of density ~ r^-3 on [r_min, r_max] pixels (that exponent makes
    the statistics scale-invariant), grey values uniform on [-1, 1], pixels sampled at their centres, plus uniform noise.

    Laid front to back until every pixel is covered, which draws from the stationary process exactly (Kendall & Thonnes
    1999). noise: width of the uniform noise of each pixel, 2/255 for one of 256 grey levels: without it the inside of a
    disk is flat and has no density; it sets the scale of every figure in nats (1 bit for each halving, where a pixel
    is known from its neighbours). Entropy unknown; at least log(noise) nats/dim, that of the noise. Variance of a pixel
    1/3 + noise^2/12. Raises ConfigError for values out of range.
    """

    def __init__(
        self,
        *,
        size: int,
        r_min: float,
        r_max: float,
        noise: float,
        train_size: int,
        val_size: int,
        test_size: int,
        draw_seed: int,
        limit: int | None,
    ) -> None:
        if not 2 <= size <= 256:
            raise ConfigError(f"data.size={size} is out of range: give the pictures' side in pixels, 2 to 256.")
        if not 0.5 <= r_min < math.inf:
            raise ConfigError(
                f"data.r_min={r_min} is out of range: give at least 0.5 pixels, or disks fall between the pixels."
            )
        if not r_min < r_max <= 1e4:
            raise ConfigError(
                f"data.r_max={r_max} is out of range: give a radius above data.r_min={r_min}, up to 10000."
            )
        if not 1e-4 <= noise <= 2:
            raise ConfigError(f"data.noise={noise} is out of range: give a width from 0.0001 to 2; grey values span 2.")
        self.size, self.r_min, self.r_max, self.noise = size, r_min, r_max, noise
        self.deviation = math.sqrt(1 / 3 + noise**2 / 12)
        self.null = white("pixel", 1, self.deviation)
        sizes = {"train": train_size, "val": val_size, "test": test_size}
        super().__init__((1, size, size), None, limit=limit, **draw_splits(sizes, draw_seed, self.draw))

    @property
    def source(self) -> str:
        return f"Draws of dead leaves, radii {self.r_min} to {self.r_max} pixels, after Lee, Mumford & Huang 2001."

    def floors(self) -> dict[str, float]:
        """Nats/dim of Gaussians that can be fitted."""
        floors = density_floors(self.train.x, self.test.x)
        return {name: value for name, value in floors.items() if math.isfinite(value)}

    def show(self, x0: Tensor, path: Path, columns: int | None = None) -> Path:
        """A grid, as a PNG."""
        return save_grid(self, x0, path, columns)

    def draw(self, count: int, seed: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(x float32 [count, 1, size, size], label 0): whole chunks, so that a longer set continues a shorter one."""
        parts = [self._chunk((*seed, number)) for number in range(math.ceil(count / CHUNK))]
        x = torch.from_numpy(np.concatenate(parts)[:count, None])
        return x, torch.zeros(count, dtype=torch.int64)

    def _chunk(self, seed: tuple[int, ...]) -> np.ndarray:
        """float32 [CHUNK, size, size]."""
        random = np.random.RandomState(seed)
        x = np.zeros((CHUNK, self.size, self.size), np.float32)
        bare = np.ones(x.shape, bool)
        at = np.arange(self.size, dtype=np.float32) + np.float32(0.5)
        left = np.arange(CHUNK)  # pictures that are not covered yet
        while len(left):
            radius, row, column, grey = (v.astype(np.float32)[:, left, None] for v in self._disks(random))
            canvas, open_ = x[left], bare[left]
            for k in range(ROUND):
                across = np.square(at - row[k])[:, :, None] + np.square(at - column[k])[:, None]
                seen = open_ & (across <= np.square(radius[k])[:, :, None])
                np.copyto(canvas, grey[k][:, :, None], where=seen)
                open_ &= ~seen
            x[left], bare[left] = canvas, open_
            left = left[open_.any((1, 2))]
        return x + (random.random_sample(x.shape).astype(np.float32) - np.float32(0.5)) * np.float32(self.noise)

    def _disks(self, random: np.random.RandomState) -> tuple[np.ndarray, ...]:
        """(radius, row, column, grey), [ROUND, CHUNK] each, of disks that may touch the picture, in the order they hide.

        Of disks strewn over the plane those with their centre in the square [-r, size + r]^2 matter: their radii have
        density ~ r^-3 (size + 2 r)^2, a mixture of the powers -3, -2 and -1.
        """
        a, b, size = self.r_min, self.r_max, self.size
        which, level, u, v, grey = random.random_sample((5, ROUND, CHUNK))
        share = np.cumsum([size**2 * (a**-2 - b**-2) / 2, 4 * size * (1 / a - 1 / b), 4 * math.log(b / a)])
        inverse = (
            (a**-2 - level * (a**-2 - b**-2)) ** -0.5, 1 / (1 / a - level * (1 / a - 1 / b)), a * (b / a) ** level
        )  # fmt: skip
        radius = np.choose((which[None] * share[-1] > share[:2, None, None]).sum(0), inverse)
        return radius, u * (size + 2 * radius) - radius, v * (size + 2 * radius) - radius, 2 * grey - 1

"""What the training steps themselves say of the bound: per-t counts, sums and squares, kept on the device."""

from __future__ import annotations

import torch
from torch import Tensor


class Meter:
    """Unweighted terms by t = 1..T since the last reset, and the running estimate of the whole sum since the last read.

    Nothing leaves the device until it is read.
    """

    def __init__(self, T: int, device: torch.device | str) -> None:
        self.T = T
        self.per_t = torch.zeros(3, T + 1, dtype=torch.float64, device=device)  # count, sum, sum of squares
        self.window = torch.zeros(3, dtype=torch.float64, device=device)  # examples, sum of T iw nats, sum of iw loss

    def add(self, t: Tensor, iw: Tensor, nats: Tensor, loss: Tensor) -> None:
        """One micro-batch, [B] each: unweighted nats and the importance-weighted loss."""
        nats, t = nats.detach().double(), t.to(self.per_t.device)
        for row, values in zip(self.per_t, (torch.ones_like(nats), nats, nats * nats), strict=True):
            row.index_add_(0, t, values)
        iw = iw.to(nats)
        self.window += torch.stack(
            [torch.ones_like(iw).sum(), (iw * nats).sum() * self.T, loss.detach().double().sum()]
        )

    def read_window(self) -> tuple[float, float]:
        """(unbiased estimate of the sum over t = 1..T in nats, mean loss) since the last call."""
        count, nats, loss = self.window.tolist()
        self.window.zero_()
        return nats / max(count, 1), loss / max(count, 1)

    def read_per_t(self) -> tuple[Tensor, Tensor, Tensor]:
        """(count, mean, standard error) of the term at t = 1..T since the last call, float64 on the CPU; NaN if unseen."""
        count, total, squares = self.per_t[:, 1:].cpu().clone()  # .cpu() of a CPU tensor is the tensor itself
        self.per_t.zero_()
        mean = total / count
        variance = (squares / count - mean**2).clamp(min=0) * count / (count - 1)
        return count, mean, (variance / count).sqrt()

    def state_dict(self) -> dict[str, Tensor]:
        return {"per_t": self.per_t, "window": self.window}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.per_t.copy_(state["per_t"])
        self.window.copy_(state["window"])

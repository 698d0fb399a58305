"""Each term of the bound as a function that returns nats per example, [B].

L_T is `Process.prior_kl`, L_0 is `Decoder.nll` and L_{t-1} is `Reading.transition_kl`; here is the term of any t.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..decoder.base import Decoder
from ..prediction import Reading


class Term(NamedTuple):
    """One term of the bound for each example, nats [B]: L_0 where t = 1, else L_{t-1} with its two parts (0 at t = 1)."""

    nats: Tensor
    mean_error: Tensor
    variance_mismatch: Tensor


def bound_term(decoder: Decoder, prediction: Reading, x0: Tensor, eps: Tensor) -> Term:
    """The term that belongs to each example's own t.

    The batch is split before anything is computed (t lives on the CPU, so this costs no device synchronisation): no
    branch is evaluated and then masked, so none can leak a NaN gradient.
    """
    first = prediction.step.is_first
    parts: list[tuple[Tensor, Term]] = []
    if len(rows := first.nonzero()[:, 0]):
        nats = decoder.nll(x0[rows.to(x0.device)], prediction[rows])
        parts.append((rows, Term(nats, torch.zeros_like(nats), torch.zeros_like(nats))))
    if len(rows := (~first).nonzero()[:, 0]):
        on_device = rows.to(x0.device)
        step_kl = prediction[rows].transition_kl(x0[on_device], eps[on_device])
        parts.append((rows, Term(step_kl.total, *step_kl)))
    if len(parts) == 1:
        return parts[0][1]
    order = torch.cat([rows for rows, _ in parts]).argsort().to(x0.device)
    return Term(*(torch.cat(columns)[order] for columns in zip(*(term for _, term in parts), strict=True)))

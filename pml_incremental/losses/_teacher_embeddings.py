"""What all losses that compare a student with a teacher have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pml_incremental.functional.checks import check_paired


def check_teacher_embeddings(loss_name: str, embeddings: Tensor, ref_emb: Tensor | None) -> Tensor:
    """Return the teacher's embeddings, or raise if they cannot be the teacher's."""
    # PML replaces a missing ref_emb by the embeddings themselves.
    if ref_emb is None or ref_emb is embeddings:
        raise ValueError(
            f"{loss_name} needs the teacher's embeddings of the same images as ref_emb, and got "
            "none or the student's own: call it as "
            "loss(embeddings, labels, ref_emb=teacher_embeddings)"
        )
    check_paired("embeddings", embeddings, "ref_emb", ref_emb)
    return ref_emb


def element_losses(losses: Tensor) -> dict[str, dict[str, Any]]:
    """Losses of shape (N,), one per anchor, as PML's reducers take them."""
    return {
        "loss": {
            "losses": losses,
            "indices": torch.arange(len(losses), device=losses.device),
            "reduction_type": "element",
        }
    }

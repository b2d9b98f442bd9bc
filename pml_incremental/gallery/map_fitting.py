"""Choosing and learning an affine map between two embedding spaces, from pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.functional import nearest_orthogonal

FOLDS = 5
FEWEST = 3  # groups, and rows to check on in each part
NEIGHBOURS = 10
RIDGES = tuple(10.0**exponent for exponent in range(-7, 2))
ROUNDING = 1e-9
_LARGEST_CHECK = 5_000

#: Weight (d_new, d_old) and bias (d_new,), in float64.
Affine = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class MapQuality:
    """How near moved vectors come to the new model's, on pairs that the map did not learn from.

    Attributes:
        pairs: how many pairs there were in all.
        cosine: mean cosine between a moved vector and the new model's.
        cosine_unmoved: the same without a map; None where the widths differ.
        neighbours: share of an image's 10 nearest by the new model that are also its nearest among
            moved vectors, within a fold; fewer than 10 where it is small.
        neighbours_unmoved: the same without a map; None where the widths differ.
    """

    pairs: int
    cosine: float
    cosine_unmoved: float | None
    neighbours: float
    neighbours_unmoved: float | None


def fit_affine(
    old: Tensor, new: Tensor, groups: Tensor | None, checked: Tensor | None, seed: int
) -> tuple[Tensor, Tensor, str, MapQuality]:
    """Weight, bias, kind and quality of the map that does best on held-out pairs."""
    check_pairs(old, new)
    old, new = (F.normalize(rows.double(), dim=1) for rows in (old, new))
    folds = _folds(len(old), groups, seed)
    if checked is not None:
        # Rows of no fold: learned from unless their group is held out, and never checked.
        folds = torch.where(checked, folds, folds - 2 * FOLDS)
    checked_rows = torch.bincount(folds[folds >= 0], minlength=int(folds.max()) + 1)
    if int(checked_rows.min()) < FEWEST:
        raise ValueError(
            "a map is checked on parts of the images in turn, and needs at least "
            f"{FEWEST} in each; the parts have {', '.join(map(str, checked_rows.tolist()))}"
        )
    chosen = _choose(old, new, folds)
    weight, bias = dict(_candidates(old, new, chosen.ridge))[chosen]
    return weight.float(), bias.float(), chosen.kind, _quality(old, new, folds, chosen)


def check_pairs(old: Tensor, new: Tensor) -> None:
    """Raise a ValueError unless both have one finite row for each image."""
    if old.ndim != 2 or new.ndim != 2 or len(old) != len(new):
        raise ValueError(
            "a map is learned from embeddings of the same images by both models, shapes (N, d), "
            f"got {tuple(old.shape)} and {tuple(new.shape)}"
        )
    for name, rows in (("old", old), ("new", new)):
        if not torch.isfinite(rows).all():
            raise ValueError(f"the {name} model's embeddings are not all finite: leave those out")
        if len(rows) and bool((rows == rows[0]).all()):
            raise ValueError(f"the {name} model's embeddings are all the same: it has collapsed")


class Option(NamedTuple):
    """A kind of map; the rank is that of the change, 0 for all of it."""

    kind: str
    ridge: float | None = None
    rank: int = 0


def _folds(rows: int, groups: Tensor | None, seed: int) -> Tensor:
    """The fold of each row, 0 to 4; rows of one group are in one fold."""
    groups = torch.arange(rows) if groups is None else groups
    if len(groups) != rows:
        raise ValueError(f"{rows} pairs have {len(groups)} groups: give one for each")
    names, group = torch.unique(groups, return_inverse=True)
    if len(names) < FEWEST:
        raise ValueError(
            f"a map needs pairs of at least {FEWEST} classes or images, to learn from some "
            f"and to check it on others; got {len(names)}"
        )
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    return order[group] % min(FOLDS, len(names))


def _choose(old: Tensor, new: Tensor, folds: Tensor) -> Option:
    """What does best on held-out pairs; the simplest, where several are equal."""
    scores = _mean_scores(old, new, folds, lambda seen, goal: _full_rank(seen, goal, RIDGES))
    affine = max((option for option in scores if option.kind == "affine"), key=scores.__getitem__)
    assert affine.ridge is not None
    # What a lower rank leaves out, the ridge need not hold down.
    for ridge in (affine.ridge, affine.ridge / 10, affine.ridge / 100):
        low = partial(_low_rank, ridge=ridge)
        scores |= _mean_scores(old, new, folds, low)
    best = max(scores.values())
    return next(option for option, score in scores.items() if score >= best - ROUNDING)


def _sides(folds: Tensor, fold: int) -> tuple[Tensor, Tensor]:
    """Which rows are learned from while a fold is held out, and which are checked."""
    out = folds == fold
    return ~(out | (folds == fold - 2 * FOLDS)), out


def _mean_scores(
    old: Tensor,
    new: Tensor,
    folds: Tensor,
    candidates: Callable[[Tensor, Tensor], Iterator[tuple[Option, Affine]]],
) -> dict[Option, float]:
    """The share of neighbours that each kind of map keeps among held-out pairs."""
    scores: dict[Option, float] = {}
    number = int(folds.max()) + 1
    for fold in range(number):
        seen, out = _sides(folds, fold)
        for option, affine in candidates(old[seen], new[seen]):
            kept = neighbours_kept(_moved(old[out], affine), new[out])
            scores[option] = scores.get(option, 0.0) + kept / number
    return scores


def _candidates(old: Tensor, new: Tensor, ridge: float | None) -> Iterator[tuple[Option, Affine]]:
    """All maps of one ridge, or those without any."""
    yield from _full_rank(old, new, () if ridge is None else (ridge,))
    if ridge is not None:
        yield from _low_rank(old, new, ridge)


def _full_rank(
    old: Tensor, new: Tensor, ridges: Sequence[float]
) -> Iterator[tuple[Option, Affine]]:
    """Maps learned from unit vectors, the simplest first; ridges are relative to the variance."""
    stays = _staying(old, new)
    if old.shape[1] == new.shape[1]:
        yield Option("identity"), (stays, torch.zeros_like(new[0]))
        yield Option("orthogonal"), (nearest_orthogonal(new.T @ old), torch.zeros_like(new[0]))
    mean, change = old.mean(0), new - old @ stays.T
    shift = change.mean(0)
    variances, axes = torch.linalg.eigh((old - mean).T @ (old - mean) / len(old))
    aligned = axes.T @ ((old - mean).T @ (change - shift)) / len(old)
    for ridge in ridges:
        learned = (axes @ (aligned / (variances + ridge * variances.mean())[:, None])).T
        yield Option("affine", ridge), (stays + learned, shift - learned @ mean)


def _low_rank(old: Tensor, new: Tensor, ridge: float) -> Iterator[tuple[Option, Affine]]:
    """The affine map with its change cut to fewer ranks: those that predict most of it."""
    affine = dict(_full_rank(old, new, (ridge,)))[Option("affine", ridge)]
    stays, mean = _staying(old, new), old.mean(0)
    learned, centre = affine[0] - stays, affine[1] + affine[0] @ mean
    spread = learned @ (old - mean).T
    directions = torch.linalg.eigh(spread @ spread.T).eigenvectors
    rank = min(learned.shape) // 2
    while rank >= 1:
        kept = directions[:, -rank:]
        weight = stays + kept @ (kept.T @ learned)
        yield Option("low rank", ridge, rank), (weight, centre - weight @ mean)
        rank //= 2


def _staying(old: Tensor, new: Tensor) -> Tensor:
    """The map of which a change is learned: the identity, or nothing between other widths."""
    shape = new.shape[1], old.shape[1]
    return torch.eye(*shape, dtype=old.dtype) * (shape[0] == shape[1])


def _moved(rows: Tensor, affine: Affine) -> Tensor:
    return F.normalize(rows @ affine[0].T + affine[1], dim=1)


def _quality(old: Tensor, new: Tensor, folds: Tensor, chosen: Option) -> MapQuality:
    """What maps of the chosen kind do on the folds that they did not learn from."""
    moved, kept, kept_unmoved = torch.empty_like(new), 0.0, 0.0
    same_width = old.shape[1] == new.shape[1]
    number = int(folds.max()) + 1
    for fold in range(number):
        seen, out = _sides(folds, fold)
        affine = dict(_candidates(old[seen], new[seen], chosen.ridge))[chosen]
        moved[out] = _moved(old[out], affine)
        kept += neighbours_kept(moved[out], new[out]) / number
        if same_width:
            kept_unmoved += neighbours_kept(old[out], new[out]) / number
    checked, cosine = folds >= 0, torch.nn.CosineSimilarity()
    return MapQuality(
        pairs=len(old),
        cosine=float(cosine(moved, new)[checked].mean()),
        cosine_unmoved=float(cosine(old, new)[checked].mean()) if same_width else None,
        neighbours=kept,
        neighbours_unmoved=kept_unmoved if same_width else None,
    )


def neighbours_kept(moved: Tensor, new: Tensor) -> float:
    """Share of the nearest among new vectors that are also the nearest among moved ones."""
    moved, new = moved[:_LARGEST_CHECK].float(), new[:_LARGEST_CHECK].float()
    # Of few rows most would be neighbours, whatever the map.
    k = max(1, min(NEIGHBOURS, (len(new) - 1) // 4))
    nearest = []
    for gallery in (new, moved):
        scores = new @ gallery.T
        scores.fill_diagonal_(-torch.inf)
        nearest.append(scores.topk(k).indices)
    same = (nearest[0][:, :, None] == nearest[1][:, None, :]).any(2)
    return float(same.float().mean())

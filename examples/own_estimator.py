"""A user's own estimator of prior models' features, named in a config like the built-in ones.

Three scripts arrive one after another. While the third is learned, the model after the first is
gone; ``fecd`` distils from what an estimator makes of it.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from pml_incremental.config import load_config, validate
from pml_incremental.estimators import FeatureEstimator
from pml_incremental.experiment import run

CONFIG = Path(__file__).parents[1] / "configs" / "glyphs.yaml"


class ScaleEstimator(FeatureEstimator):
    """Prior embeddings as the current ones, each dimension scaled: d numbers a model.

    Least squares in each dimension: the scale is sum(f * f_k) / sum(f * f).
    """

    def __init__(self) -> None:
        super().__init__()
        self._products: list[Tensor] = []
        self._squares: list[Tensor] = []

    def accumulate(self, prior: Tensor, current: Tensor) -> None:
        """Add the batch to the sums; prior is (K, N, d), current (N, D)."""
        embeddings = current[:, : prior.shape[2]]
        self._products.append((prior * embeddings).sum(dim=1))
        self._squares.append(embeddings.square().sum(dim=0))

    def solve(self) -> dict[str, Tensor]:
        """One scale for each prior model and dimension, (K, d)."""
        products, squares = torch.stack(self._products).sum(0), torch.stack(self._squares).sum(0)
        self._products, self._squares = [], []
        return {"scale": products / squares.clamp_min(1e-12)}

    def predict(
        self,
        features: Tensor,
        state: dict[str, Tensor],
        generator: torch.Generator | None,  # noqa: ARG002  # draws nothing
    ) -> Tensor:
        """Scale the embeddings: (N, D) to (K, N, d)."""
        scale = state["scale"].unsqueeze(1)
        return features[:, : scale.shape[-1]] * scale


def main(output: Path) -> None:
    """Run correlation distillation alone, and with our estimator in place of the default one."""
    config = load_config(
        [CONFIG],
        [
            "name=own_estimator",
            f"output={output}",
            "allow_imports=[own_estimator]",
            "dataset.Glyphs.scripts=[armenian, georgian, math]",
            "dataset.Glyphs.max_classes_per_script=40",
            "models.trunk.SmallConvNet.width=16",
            "num_epochs=[4, 2]",
            "strategies=[correlation, "
            "{fecd: {estimator: 'own_estimator:ScaleEstimator', estimator_input: embeddings, "
            "passes: 1}}]",
        ],
    )
    validate(config)
    print(f"{'Recall@1 after three tasks':56}{'task 1':>8}{'task 2':>8}{'task 3':>8}")
    for strategy, matrices in run(config, progress=False).strategies.items():
        last = matrices["own/recall_at_1"].values[-1]
        print(f"{strategy:56}{last[0]:8.1%}{last[1]:8.1%}{last[2]:8.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))

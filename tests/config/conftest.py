from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = """\
# The task stream of the demo, shortened.
name: demo
dataset:
  Glyphs: {scripts: [latin, greek]}
scenario:
  ClassIncrementalScenario: {class_groups: natural}
transforms:
  train:
    Resize: {size: 28}
    RandomAffine: {degrees: 10, translate: [0.1, 0.1], interpolation: BILINEAR}
  eval: [Resize: {size: 28}]
models:
  trunk:
    SmallConvNet: {width: 8}
  embedder:
    MLP: {layer_sizes: [64]}
loss_funcs:
  metric_loss:
    TripletMarginLoss:
      margin: 0.1
      distance: {CosineSimilarity: }
mining_funcs:
  tuple_miner: MultiSimilarityMiner
sampler:
  MPerClassSampler: {m: 4}
optimizers:
  trunk_optimizer:
    Adam: {lr: 1e-3}
  embedder_optimizer:
    Adam: {lr: 1e-3}
trainer:
  IncrementalMetricLoss:
    batch_size: 80
num_epochs: [3, 2]
tester: IncrementalTester
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path):
    """Write YAML text to a file and give its path."""

    def write_file(text, name="run.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def example(write):
    """A realistic config file."""
    return write(EXAMPLE, "example.yaml")

"""A trained model as a folder that other programs read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL.Image import Image

from pml_incremental.experiment.embedding_model import EmbeddingModel
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.running.outputs import as_picture
from pml_incremental.experiment.student import recipe_of
from pml_incremental.experiment.trained_weights import OF_EMBEDDING, TrainedWeights
from pml_incremental.extras import require
from pml_incremental.models.weights import MODEL
from pml_incremental.report.style import percent
from pml_incremental.storage import write_tensor_file
from pml_incremental.storage.whole_file import sync, write_whole

CONFIG, CARD, ONNX = "config.json", "README.md", "model.onnx"
CHECKED = 8  # pictures that an ONNX file is checked on
_ONNX_TOLERANCE = 1e-3


def read_stage(
    folder: Path, strategy: str | None = None, task: int | None = None
) -> tuple[TrainedWeights, list[Image], str]:
    """A model of a finished run, a held-out picture of each task, and a table for its card.

    Args:
        folder: of the run.
        strategy: one of its strategies; default: the only one.
        task: the last task learned, from 1; default: the run's last.

    Raises:
        ValueError: if there is no such run, strategy or stage.
    """
    run = FinishedRun(folder)
    names = run.strategies
    if strategy is None and len(names) > 1:
        raise ValueError(f"{folder} has several strategies, {', '.join(names)}: name one")
    strategy = names[0] if strategy is None else strategy
    task = len(run.scenario) if task is None else task
    trained = run.trained_weights(strategy, task)
    pictures = [part.test.with_transform(as_picture)[0][0] for part in run.scenario]
    measured = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    values = measured["strategies"][strategy]["own/recall_at_1"]["values"][1 : task + 1]
    return trained, pictures, _table(strategy, values)


def export_model(
    trained: TrainedWeights,
    folder: Path,
    pictures: Sequence[Image] = (),
    measured: str = "",
    onnx: bool = False,
) -> None:
    """Write a model as a folder, whole or not at all.

    The folder has ``model.safetensors`` with the weights, ``config.json`` with the arguments of
    :class:`EmbeddingModel`, and ``README.md``, a model card. This is the layout that
    ``PyTorchModelHubMixin`` of huggingface_hub reads, and each command that takes ``--weights``
    takes the folder.

    Args:
        trained: the weights and what model they are of.
        folder: the place to write.
        pictures: for the shape of the model's input, and to check the ONNX file on; default: a
            blank one, and no ONNX file.
        measured: Markdown for the card.
        onnx: whether to write ``model.onnx`` too, for batches of any size.

    Raises:
        ConfigError: if nothing says what model the weights are of.
        ValueError: if the folder is there, there are no pictures to check the ONNX file on, or it
            does not give torch's embeddings.
        StorageError: if the folder cannot be written.
        MissingExtraError: if what ONNX needs is not installed.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists: choose another name")
    if onnx:
        for package in ("onnx", "onnxscript", "onnxruntime"):
            require(package, "an ONNX file", extra="onnx")
        if not pictures:
            raise ValueError("an ONNX file is checked on pictures: give some with --images")
    model = EmbeddingModel.of(trained, pictures[0] if pictures else None)
    written = recipe_of(model.config)
    embedding = {key: written[key] for key in OF_EMBEDDING if key in written}
    settings = {
        "recipe": embedding,
        "image_mode": model.image_mode,
        "image_shape": list(model.image_shape),
    }
    images = torch.stack([model.prepare(p) for p in pictures[:CHECKED]]) if pictures else None

    def write(part: Path) -> None:
        part.mkdir()
        # How the model learned stays, for update.
        state = {**settings, "recipe": dict(trained.recipe or {}) | embedding}
        write_tensor_file(part / MODEL, model.state_dict(), state)
        text = json.dumps(settings, indent=1, ensure_ascii=False)
        (part / CONFIG).write_text(f"{text}\n", encoding="utf-8")
        (part / CARD).write_text(_card(folder.name, model, settings, measured), encoding="utf-8")
        if onnx:
            assert images is not None
            _write_onnx(model, images, part / ONNX)
        for file in part.iterdir():
            sync(file)

    write_whole(folder, write)


def _write_onnx(model: EmbeddingModel, images: torch.Tensor, file: Path) -> None:
    """The network as ONNX, if onnxruntime gives the same embeddings of these images."""
    import onnxruntime

    batch = torch.export.Dim("batch")
    torch.onnx.export(
        model,
        (images,),
        file,
        input_names=["images"],
        output_names=["embeddings"],
        dynamic_shapes={"images": {0: batch}},
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(images).numpy()
    for some in (slice(None), slice(1)):
        (found,) = session.run(None, {"images": images[some].numpy()})
        apart = float(np.abs(found - expected[some]).max())
        if not apart <= _ONNX_TOLERANCE:
            raise ValueError(
                f"onnxruntime's embeddings are {apart:.2g} from torch's, above {_ONNX_TOLERANCE}: "
                "the model has an operation that ONNX computes otherwise; export it without --onnx"
            )


def _table(strategy: str, values: list[list[float | None]]) -> str:
    """Recall@1 after each task, as Markdown."""
    tasks = range(1, len(values) + 1)
    lines = [
        f"Recall@1 in %, strategy `{strategy}`, each task's held-out images in a gallery of their "
        "own:\n",
        f"| after task | {' | '.join(f'task {task}' for task in tasks)} |",
        f"|--:|{'--:|' * len(values)}",
    ]
    for task, row in zip(tasks, values, strict=True):
        cells = [percent(float("nan") if v is None else v) for v in row[: len(values)]]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _card(name: str, model: EmbeddingModel, settings: dict[str, Any], measured: str) -> str:
    with torch.no_grad():
        width = model(torch.zeros(1, *model.image_shape)).shape[1]
    length = "of unit length" if model.normalizes else "of any length"
    recipe = yaml.safe_dump(settings["recipe"], sort_keys=False)
    return f"""---
library_name: pml-incremental
pipeline_tag: image-feature-extraction
tags: [metric-learning, image-retrieval, continual-learning]
---

# {name}

Turns a picture into {width} numbers, {length}. Similar pictures are near each other.

```python
from pathlib import Path

from pml_incremental.experiment import EmbeddingModel

model = EmbeddingModel.load(Path("{name}"))
embedding = model(model.prepare("picture.png").unsqueeze(0))
```

To search a folder of pictures:

```bash
pml-incremental gallery build pictures/ shop.gallery --weights {name}
```

{f"## Measured{chr(10)}{chr(10)}{measured}{chr(10)}" if measured else ""}## Model

Pictures have mode {model.image_mode}; after the transforms their shape is {model.image_shape}.

```yaml
{recipe}```
"""

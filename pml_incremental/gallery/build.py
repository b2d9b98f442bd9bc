"""From a folder of images to a gallery."""

from __future__ import annotations

from pathlib import Path

from pml_incremental.datasets.image_files import OnBadImage
from pml_incremental.gallery.gallery import Gallery, check_vectors
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.gallery.model_version import ModelVersion
from pml_incremental.gallery.weights_model import WeightsModel


def build_gallery(
    images: Path,
    model: ModelVersion | WeightsModel,
    index: str | None = None,
    on_bad_image: OnBadImage = "raise",
    progress: bool = False,
) -> Gallery:
    """Embed all images of a folder.

    Args:
        images: a folder; the folder that an image is in names its class.
        model: embeds them.
        index: faiss's factory string for an approximate search; default: exact.
        on_bad_image: ``"raise"`` an error about images that cannot be read, or ``"skip"`` them.
        progress: whether to show progress bars.

    Raises:
        ValueError: if there are no images, one cannot be read, or the model's weights are gone.
    """
    files = ImageFiles.under(images.resolve(), on_bad_image, progress)
    vectors = check_vectors(model.embed(files, progress), files)
    return Gallery(vectors, files, model.describe(), index, (f"embedded by {model.name}",))

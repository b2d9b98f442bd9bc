"""A folder of images as a searchable directory of embeddings, and its move to a new model."""

from pml_incremental.gallery.embedding_map import EmbeddingMap, MapQuality
from pml_incremental.gallery.gallery import Gallery, build_gallery
from pml_incremental.gallery.model_version import ModelVersion, WeightsModel
from pml_incremental.gallery.search import SearchResult, search_gallery
from pml_incremental.gallery.update import (
    UpdateReport,
    learn_map,
    measure_update,
    update_gallery,
)

__all__ = [
    "EmbeddingMap",
    "Gallery",
    "MapQuality",
    "ModelVersion",
    "SearchResult",
    "UpdateReport",
    "WeightsModel",
    "build_gallery",
    "learn_map",
    "measure_update",
    "search_gallery",
    "update_gallery",
]

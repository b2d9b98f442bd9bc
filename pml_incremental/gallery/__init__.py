"""A folder of images as a searchable directory of embeddings, and its move to a new model."""

from pml_incremental.gallery.embedding_map import EmbeddingMap
from pml_incremental.gallery.gallery import Gallery, build_gallery
from pml_incremental.gallery.map_fitting import MapQuality
from pml_incremental.gallery.model_version import ModelVersion, WeightsModel
from pml_incremental.gallery.rows import add_to_gallery, remove_from_gallery
from pml_incremental.gallery.search import SearchResult, search_gallery
from pml_incremental.gallery.update import (
    UpdateReport,
    learn_map,
    measure_update,
    update_gallery,
)
from pml_incremental.gallery.vector_files import export_gallery, import_gallery

__all__ = [
    "EmbeddingMap",
    "Gallery",
    "MapQuality",
    "ModelVersion",
    "SearchResult",
    "UpdateReport",
    "WeightsModel",
    "add_to_gallery",
    "build_gallery",
    "export_gallery",
    "import_gallery",
    "learn_map",
    "measure_update",
    "remove_from_gallery",
    "search_gallery",
    "update_gallery",
]

"""A folder of images as a searchable directory of embeddings, and its move to a new model."""

from pml_incremental.gallery.gallery import Gallery, build_gallery
from pml_incremental.gallery.model_version import ModelVersion, WeightsModel
from pml_incremental.gallery.search import SearchResult, search_gallery
from pml_incremental.gallery.update import UpdateReport, measure_update, update_gallery

__all__ = [
    "Gallery",
    "ModelVersion",
    "SearchResult",
    "UpdateReport",
    "WeightsModel",
    "build_gallery",
    "measure_update",
    "search_gallery",
    "update_gallery",
]

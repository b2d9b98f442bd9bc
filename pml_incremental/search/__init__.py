"""Searching embeddings, exactly or through an index: no pytorch-metric-learning."""

from pml_incremental.search.approximate import IndexSearch
from pml_incremental.search.exact import ExactSearch
from pml_incremental.search.scan import Lookup

__all__ = ["ExactSearch", "IndexSearch", "Lookup"]

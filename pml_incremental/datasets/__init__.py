"""Labelled image datasets: drawn characters, the user's own folder, arrays in a file."""

from pml_incremental.datasets.glyphs import Glyphs
from pml_incremental.datasets.image_folder import ImageFolder
from pml_incremental.datasets.npz_images import NpzImages

__all__ = ["Glyphs", "ImageFolder", "NpzImages"]

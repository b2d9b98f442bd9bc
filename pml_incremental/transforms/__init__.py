"""Image transforms that torchvision lacks."""

from pml_incremental.transforms.caffe_normalize import CaffeNormalize

__all__ = ["CaffeNormalize"]

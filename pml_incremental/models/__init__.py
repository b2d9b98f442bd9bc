"""Trunks, embedders and classifiers."""

from pml_incremental.models.adapters import adapted, adapter_layers
from pml_incremental.models.bn_inception import BNInception
from pml_incremental.models.change import (
    move_towards,
    pooled_maps,
    watched_maps,
    weight_change,
)
from pml_incremental.models.heads import MLP, GrowingClassifier, copy_leading_block
from pml_incremental.models.modes import check_compiler, compiled
from pml_incremental.models.small_conv_net import SmallConvNet
from pml_incremental.models.transformers_trunk import transformers_trunk
from pml_incremental.models.trunk import (
    efficientnet_lite0,
    output_width,
    remove_classification_head,
    timm_trunk,
)
from pml_incremental.models.weights import load_weights, read_weights, tensors_under

__all__ = [
    "MLP",
    "BNInception",
    "GrowingClassifier",
    "SmallConvNet",
    "adapted",
    "adapter_layers",
    "check_compiler",
    "compiled",
    "copy_leading_block",
    "efficientnet_lite0",
    "load_weights",
    "move_towards",
    "output_width",
    "pooled_maps",
    "read_weights",
    "remove_classification_head",
    "tensors_under",
    "timm_trunk",
    "transformers_trunk",
    "watched_maps",
    "weight_change",
]

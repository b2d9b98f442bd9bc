"""Images made from a batch, for student and teacher to be compared on."""

from pml_incremental.probes.compose import Probe, check_probe_images, in_turn, side_by_side
from pml_incremental.probes.drawn import blobs, dead_leaves, strokes
from pml_incremental.probes.mixing import cut_and_mix, mixup
from pml_incremental.probes.registry import PROBES, build_probe
from pml_incremental.probes.turned import (
    images_of_some_classes,
    turn_images,
    turn_of_classes,
    turned_labels,
)
from pml_incremental.probes.warp import warp

__all__ = [
    "PROBES",
    "Probe",
    "blobs",
    "build_probe",
    "check_probe_images",
    "cut_and_mix",
    "dead_leaves",
    "images_of_some_classes",
    "in_turn",
    "mixup",
    "side_by_side",
    "strokes",
    "turn_images",
    "turn_of_classes",
    "turned_labels",
    "warp",
]

"""Which characters make a class, and in which faces: no repeated images, no homoglyphs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pml_incremental.datasets._glyph_drawing import draw_glyph
from pml_incremental.datasets._glyph_faces import TEST_FACES, faces_drawing
from pml_incremental.datasets._glyph_scripts import characters

MIN_FACES = 8
MIN_TEST_IMAGES = MIN_TRAIN_IMAGES = 2
COMPARED_SIZE = 32  # whatever the images' own size, so that the classes do not depend on it
SAME_DRAWING = 0.05


class GlyphClass(NamedTuple):
    """A character and the faces whose drawings of it differ from one another."""

    character: str
    faces: tuple[str, ...]


def glyph_classes(
    scripts: tuple[str, ...], drop_homoglyphs: bool
) -> tuple[list[list[GlyphClass]], dict[str, str]]:
    """The classes of each script, and why each other candidate is left out."""
    groups: list[list[GlyphClass]] = []
    left_out: dict[str, str] = {}
    owners: dict[tuple[str, bytes], str] = {}
    for script in scripts:
        groups.append([])
        for character in characters(script):
            drawings = drawings_by_face(character)
            if len(drawings) < MIN_FACES:
                continue
            faces = distinct_faces(drawings)
            reason = _too_few(faces)
            if reason is None and drop_homoglyphs:
                reason = _homoglyph(drawings, owners)
            if reason is not None:
                left_out[character] = reason
                continue
            owners.update({(f, image.tobytes()): character for f, image in drawings.items()})
            groups[-1].append(GlyphClass(character, faces))
    return groups, left_out


def drawings_by_face(character: str) -> dict[str, NDArray[np.uint8]]:
    """A character's image in each face that draws it, blank ones left out; test faces first."""
    faces = faces_drawing(character)
    if len(faces) < MIN_FACES:
        return {}
    drawings = {face: draw_glyph(character, face, COMPARED_SIZE) for face in faces}
    return {face: image for face, image in drawings.items() if image.any()}


def distinct_faces(drawings: dict[str, NDArray[np.uint8]]) -> tuple[str, ...]:
    """The faces whose drawing does not repeat that of an earlier face.

    An oblique face often has the upright symbols: the same image would be in training and test.
    """
    faces = tuple(drawings)
    ink = np.stack([drawings[face].ravel() for face in faces]).astype(np.int32)
    difference = np.abs(ink[:, None] - ink).sum(axis=-1)
    total = ink.sum(axis=-1)
    same = difference <= SAME_DRAWING * np.maximum(total[:, None], total)
    kept: list[int] = []
    for index in range(len(faces)):
        if not same[index, kept].any():
            kept.append(index)
    return tuple(faces[index] for index in kept)


def evenly_spaced(classes: list[GlyphClass], count: int | None) -> list[GlyphClass]:
    """At most ``count`` of the classes, spread over the whole script."""
    if count is None or len(classes) <= count:
        return classes
    return [classes[i * len(classes) // count] for i in range(count)]


def _too_few(faces: tuple[str, ...]) -> str | None:
    n_test = sum(face in TEST_FACES for face in faces)
    n_train = len(faces) - n_test
    if n_test >= MIN_TEST_IMAGES and n_train >= MIN_TRAIN_IMAGES:
        return None
    return f"has only {n_train} training and {n_test} test images that differ"


def _homoglyph(
    drawings: dict[str, NDArray[np.uint8]], owners: dict[tuple[str, bytes], str]
) -> str | None:
    for face, image in drawings.items():
        owner = owners.get((face, image.tobytes()))
        if owner is not None:
            return f"looks like {owner} in {face}"
    return None

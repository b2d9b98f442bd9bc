"""Images of Unicode characters in the font faces that matplotlib ships."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pml_incremental.datasets._checks import check_at_least
from pml_incremental.datasets._glyph_drawing import (
    SCRIPTS,
    TEST_FACES,
    characters,
    check_scripts,
    draw_glyph,
    faces_drawing,
)
from pml_incremental.datasets._images_in_memory import ImagesInMemory

MIN_FACES = 8
MIN_TEST_IMAGES = MIN_TRAIN_IMAGES = 2
COMPARED_SIZE = 32  # whatever the images' own size, so that the classes do not depend on it
SAME_DRAWING = 0.05

MIN_IMAGE_SIZE = 8


class Glyphs(ImagesInMemory):
    """Characters as classes, font faces as the images of a class, scripts as natural tasks.

    Needs no download: the images are drawn once, in a second or two, and kept in memory. They are
    white on black and centred, at one em size. A character is a class if at least 8 of the 16
    text faces of the DejaVu and STIX families draw it, by their own character maps. Drawings that
    repeat another face's (most oblique symbols repeat the upright ones) are left out, and then
    characters with fewer than 2 test or 2 training images.

    The held-out test images are those in DejaVu Sans Oblique, DejaVu Serif Bold, DejaVu Sans Mono
    Bold Oblique and STIX General Italic; no training image is in one of these.

    Args:
        scripts: some of latin, greek, cyrillic, armenian, georgian, math, arrows, shapes; all by
            default. Each becomes a group of classes, in this order. (Few shapes are drawn
            differently in enough faces: that script has about a dozen classes.)
        image_size: height and width in pixels, at least 8.
        max_classes_per_script: how many classes to take of each script, evenly spaced over it;
            all by default.
        drop_homoglyphs: leave out a character that some face draws exactly as an earlier character
            (Greek Alpha, when Latin is there too), for its images would belong to two classes.
        transform: called with each PIL image (mode "L"); by default the image is returned as is.

    Attributes:
        labels: the class of each image, int64, shape (N,).
        classes: the character of each class.
        class_groups: the labels of each script.
        test_mask: True for the test images, shape (N,).
        faces: the name of the face of each image.
        left_out: for each character that is no class for the reasons above, the reason.

    Raises:
        ValueError: if a script is unknown or named twice, or a number is too small.
        FileNotFoundError: if matplotlib's installation lacks a font file.

    Example:
        >>> glyphs = Glyphs(scripts=("armenian", "georgian"), max_classes_per_script=4)
        >>> glyphs.classes
        ['Ա', 'Մ', 'ա', 'մ', 'Ⴀ', 'Ⴔ', 'დ', 'ყ']
        >>> glyphs.class_groups
        [[0, 1, 2, 3], [4, 5, 6, 7]]
        >>> image, label = glyphs[0]
        >>> image.size, label, glyphs.image_name(0)
        ((32, 32), 0, 'U+0531 in DejaVuSans-Oblique')
    """

    def __init__(
        self,
        scripts: Sequence[str] = tuple(SCRIPTS),
        image_size: int = 32,
        max_classes_per_script: int | None = None,
        drop_homoglyphs: bool = True,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.scripts = (scripts,) if isinstance(scripts, str) else tuple(scripts)
        check_scripts(self.scripts)
        check_at_least("image_size", image_size, MIN_IMAGE_SIZE)
        if max_classes_per_script is not None:
            check_at_least("max_classes_per_script", max_classes_per_script, 1)
        candidates, self.left_out = glyph_classes(self.scripts, drop_homoglyphs)
        groups = [evenly_spaced(group, max_classes_per_script) for group in candidates]
        chosen = [glyph for group in groups for glyph in group]
        self.classes = [glyph.character for glyph in chosen]
        self.class_groups = _consecutive_labels(groups)
        self.faces = [face for glyph in chosen for face in glyph.faces]
        self.labels = np.repeat(
            np.arange(len(chosen), dtype=np.int64), [len(glyph.faces) for glyph in chosen]
        )
        self.test_mask = np.isin(self.faces, TEST_FACES)
        self.transform = transform
        self._images = self._draw(image_size)

    def image_name(self, index: int) -> str:
        """The character and the face of an image, such as ``U+0041 in DejaVuSans``."""
        return f"U+{ord(self.classes[self.labels[index]]):04X} in {self.faces[index]}"

    def _draw(self, image_size: int) -> NDArray[np.uint8]:
        characters = [self.classes[label] for label in self.labels]
        pairs = zip(characters, self.faces, strict=True)
        return np.stack([draw_glyph(character, face, image_size) for character, face in pairs])


def _consecutive_labels(groups: list[list[GlyphClass]]) -> list[list[int]]:
    ends = np.cumsum([len(group) for group in groups]).tolist()
    return [list(range(e - len(group), e)) for group, e in zip(groups, ends, strict=True)]


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

"""A JPEG that is decoded when its pixels are needed, and no larger than they are needed."""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from PIL import Image, ImageOps

#: A JPEG is decoded smaller only if the resize after that still shrinks it by this much: then the
#: pixels are nearly those of a resize of the whole image.
STILL_TO_SHRINK = 1.4
REDUCTIONS = (8, 4, 2)  # of width and height, which decoders of JPEG offer

Box = tuple[float, float, float, float]


class LazyJpeg(Image.Image):
    """An upright RGB image that is not decoded yet.

    It is cropped, turned by right angles and made grey without being decoded. A resize that shrinks
    it much decodes it at a half, a quarter or an eighth of its width and height. Everything else
    decodes it whole, and it becomes an ordinary image, as Pillow's own ``StubImageFile`` does.

    Args:
        opened: the file, which knows size and EXIF orientation.
        decode: gives the image upright, in RGB, with width and height divided by a number.
    """

    def __init__(self, opened: Image.Image, decode: Callable[[int], Image.Image]) -> None:
        super().__init__()
        origin = Image.new("L", (3, 2))  # shows where turning takes the first pixel
        origin.putpixel((0, 0), 1)
        origin.info = dict(opened.info)
        self._origin = ImageOps.exif_transpose(origin)
        self._decode = decode
        self._turns: tuple[Image.Transpose, ...] = ()
        self._whole = opened.size if self._origin.width == 3 else opened.size[::-1]
        self._box = (0, 0, *self._whole)
        self._size = self._whole
        self._mode = "RGB"
        # What is decoded is in sRGB.
        self.info = {k: v for k, v in self._origin.info.items() if k != "icc_profile"}

    def copy(self) -> Image.Image:
        """The same image, not decoded yet."""
        return self._changed()

    def convert(self, mode: str | None = None, *arguments: Any, **named: Any) -> Image.Image:
        """In grey, not decoded yet; in other modes decoded whole."""
        if not arguments and not named and mode in (None, self.mode, "L"):
            return self._changed(_mode=mode or self.mode)
        return self._loaded().convert(mode, *arguments, **named)

    def crop(self, box: Box | None = None) -> Image.Image:
        """A part of the image, not decoded yet if the box is inside and of whole pixels."""
        if box is None:
            return self.copy()
        left, top, right, bottom = box
        is_inside = 0 <= left < right <= self.width and 0 <= top < bottom <= self.height
        if not is_inside or not all(isinstance(edge, int) for edge in box):
            return self._loaded().crop(box)
        x, y = self._box[:2]
        moved = (x + left, y + top, x + right, y + bottom)
        return self._changed(_box=moved, _size=(right - left, bottom - top))

    def transpose(self, method: Image.Transpose) -> Image.Image:
        """Turn or mirror it, without decoding it unless it was cropped."""
        if self._box != (0, 0, *self._whole):
            return self._loaded().transpose(method)
        origin = self._origin.transpose(method)
        whole = self._whole if origin.size == self._origin.size else self._whole[::-1]
        turned = {"_turns": (*self._turns, method), "_origin": origin, "_whole": whole}
        return self._changed(**turned, _box=(0, 0, *whole), _size=whole)

    def resize(
        self,
        size: Any,
        resample: int | None = None,
        box: Box | None = None,
        reducing_gap: float | None = None,
    ) -> Image.Image:
        """Decode it as small as the resize allows, and resize that."""
        left, top, right, bottom = box or (0, 0, *self.size)
        shrinks = min((right - left) / max(size[0], 1), (bottom - top) / max(size[1], 1))
        averages = resample != Image.Resampling.NEAREST
        n = next((n for n in REDUCTIONS if averages and shrinks >= n * STILL_TO_SHRINK), 1)
        part, x, y = self._part(n)
        scaled = (x + left / n, y + top / n, x + right / n, y + bottom / n)
        return part.resize(size, resample, scaled, reducing_gap)

    def thumbnail(self, *arguments: Any, **named: Any) -> None:
        """Decode it whole and shrink it in place."""
        self._loaded().thumbnail(*arguments, **named)

    def verify(self) -> None:
        """Raise what decoding raises, of a small copy: the whole file is parsed for that too."""
        self._decode(max(REDUCTIONS))

    def load(self) -> Any:
        """Decode it whole; from then on it is an ordinary image."""
        image = self._part(1)[0].copy()
        self.__class__ = Image.Image  # type: ignore[assignment]
        self.__dict__ = image.__dict__
        return self.load()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._loaded().__reduce_ex__(protocol)

    def _loaded(self) -> Image.Image:
        self.load()
        return self

    def _changed(self, **changes: Any) -> LazyJpeg:
        other = LazyJpeg.__new__(LazyJpeg)
        other.__dict__ = {**self.__dict__, "info": dict(self.info), **changes}
        return other

    def _part(self, n: int) -> tuple[Image.Image, float, float]:
        """The cropped part at 1/n of its size, and where the crop's corner is in it."""
        image = self._decode(n)
        for method in self._turns:
            image = image.transpose(method)
        if self.mode != "RGB":
            image = image.convert(self.mode)
        # The last pixel of a side may be less than whole, and turning may have made it the first.
        turned_x, turned_y = (self._origin.getbbox() or (0, 0))[:2]
        x = math.ceil(self._whole[0] / n) - self._whole[0] / n if turned_x else 0.0
        y = math.ceil(self._whole[1] / n) - self._whole[1] / n if turned_y else 0.0
        left, top, right, bottom = self._box
        x, y = x + left / n, y + top / n
        end_x, end_y = x + (right - left) / n, y + (bottom - top) / n
        corner = math.floor(x), math.floor(y)
        box = (*corner, math.ceil(end_x), math.ceil(end_y))
        part = image if box == (0, 0, *image.size) else image.crop(box)
        return part, x - corner[0], y - corner[1]


class DecodedImages:
    """The images decoded last, as many as fit in some memory, for the next epochs.

    Args:
        most_bytes: that all take together.
        largest: bytes of one; larger ones are not kept.
    """

    def __init__(self, most_bytes: int, largest: int) -> None:
        self.most_bytes, self.largest = most_bytes, largest
        self.bytes = 0
        self._images: OrderedDict[Hashable, Image.Image] = OrderedDict()
        self._lock = threading.Lock()
        # Another thread may hold the lock while a process that loads images is forked.
        os.register_at_fork(after_in_child=self._renew_lock)

    def get(self, key: Hashable, decode: Callable[[], Image.Image]) -> Image.Image:
        """An image, decoded unless it is kept; it must not be changed."""
        with self._lock:
            kept = self._images.get(key)
            if kept is not None:
                self._images.move_to_end(key)
                return kept
        image = decode()
        with self._lock:
            if key not in self._images and _bytes_of(image) <= self.largest:
                self._images[key] = image
                self.bytes += _bytes_of(image)
            while self.bytes > self.most_bytes:
                self.bytes -= _bytes_of(self._images.popitem(last=False)[1])
        return image

    def clear(self) -> None:
        """Keep none of them."""
        with self._lock:
            self._images.clear()
            self.bytes = 0

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


def _bytes_of(image: Image.Image) -> int:
    return image.width * image.height * 4  # as Pillow stores RGB

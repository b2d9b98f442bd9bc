"""Ways in which text, bytes and nested values go wrong, for files that must be read or refused."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import numpy as np
import torch

TOKENS = (
    *["null", "~", "[]", "{}", "[", "}", ":", "&a", "*a", "!!python/object:os.system"],
    *("- ", "<<: *a", "!!int x", "1e999", "-.inf", ".nan", "0", "-1", "1" * 400, "'", '"', "\t"),
    *("\x00", "\u2028", "os:system", "torch.hub:load", "{" * 300, "[" * 3000, "é", "%", "#", "|"),
    *(">", "? ", "yes", ",", "\\", "../../etc/passwd", "\ufeff"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 10**9, 2**31, 2**63, -(2**63), 10**30, 1e308, 0.5, -0.0),
    *(float("nan"), float("inf"), float("-inf"), "", "x", "é\u2028\x00", "x" * 9999, "../../x"),
    *("os:system", "nan", "1", [], {}, [[]], [None], [1, "x"], {"x": {}}, {"": None}),
)


def mutated(text: str, draw: random.Random) -> str:
    """The text with one to three changes to its lines or characters."""
    for _ in range(draw.randint(1, 3)):
        lines = text.split("\n")
        place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        spot = draw.randrange(len(text) + 1)
        change = draw.randrange(7)
        if change == 0:
            del lines[place]
        elif change == 1:
            lines.insert(place, lines[other])
        elif change == 2:
            lines[place], lines[other] = lines[other], lines[place]
        elif change == 3:
            lines[place] = " " * draw.randrange(4) + lines[place].lstrip()
        elif change == 4:
            key = lines[place].split(":")[0]
            lines[place] = f"{key}: {draw.choice(TOKENS)}"
        if change < 5:
            text = "\n".join(lines)
        elif change == 5:
            text = text[:spot] + draw.choice(TOKENS) + text[spot:]
        else:
            text = text[:spot] + text[spot + draw.randrange(1, 9) :]
    return text


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The bytes with a flipped bit, a part removed, doubled, zeroed or made random, or cut off."""
    changed = bytearray(content)
    start = draw.randrange(len(changed))
    end = min(len(changed), start + draw.choice((1, 8, 64, 4096)))
    part = changed[start:end]
    change = draw.randrange(6)
    if change == 0:
        changed[start] ^= 1 << draw.randrange(8)
    elif change == 1:
        changed[start:end] = b""
    elif change == 2:
        changed[start:end] = part + part
    elif change == 3:
        changed[start:end] = bytes(len(part))
    elif change == 4:
        changed[start:end] = draw.randbytes(len(part))
    else:
        del changed[start:]
    return bytes(changed)


def changed_values(values: Any, draw: random.Random) -> Any:
    """Nested values with one or two replaced, removed, renamed, doubled, wrapped or swapped."""
    root = {"": copy.deepcopy(values)}
    for _ in range(draw.randint(1, 2)):
        holder, key = draw.choice(list(_places(root)))
        change = draw.randrange(6)
        if holder is root:
            change = draw.choice((0, 0, 4))
        if change == 1:
            del holder[key]
        elif change == 2 and isinstance(holder, dict):
            holder[draw.choice((key.upper(), f"{key}x", "", "é", "class"))] = holder.pop(key)
        elif change == 3 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif change == 4:
            holder[key] = draw.choice(([holder[key]], {"x": holder[key]}, str(holder[key])))
        elif change == 5:
            other, there = draw.choice(list(_places(root))[1:] or [(holder, key)])
            found = copy.deepcopy((holder[key], other[there]))
            other[there], holder[key] = found
        else:
            holder[key] = copy.deepcopy(draw.choice(VALUES))
    return root[""]


def _places(values: Any) -> Any:
    """Each holder and key in nested values, outermost first."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in list(pairs):
        yield values, key
        if isinstance(value, dict | list):
            yield from _places(value)


def changed_header(content: bytes, draw: random.Random) -> bytes:
    """A safetensors file whose header says something else."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(changed_values(json.loads(content[8 : 8 + size]), draw)).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def changed_tensors(parts: dict[str, torch.Tensor], draw: random.Random) -> Any:
    """Named tensors, one of another shape, type or size, or under another name."""
    name = draw.choice(list(parts))
    tensor = parts[name]
    other = {
        "shape": tensor.reshape(-1)[:-1],
        "empty": tensor[:0],
        "type": tensor.to(draw.choice((torch.int64, torch.float16, torch.bool, torch.complex64))),
        "number": tensor * draw.choice((float("nan"), float("inf"), 1e38, 0)),
        "deep": tensor[None],
    }
    parts = {**parts, name: draw.choice(list(other.values()))}
    if draw.random() < 0.3:
        parts[f"{name}x"] = parts.pop(name)
    return parts


def changed_arrays(arrays: dict[str, np.ndarray], draw: random.Random) -> dict[str, np.ndarray]:
    """Named arrays, one of another shape, type or size, or under another name."""
    name = draw.choice(list(arrays))
    array = arrays[name]
    is_number = array.dtype.kind in "iuf"
    others = [array[:-1], array[:0], array[None], array[0], array.astype(object), array.astype("S")]
    others += [array.astype(str), array[..., :1], np.array(1), np.array("x")]
    if is_number:
        others += [array.astype(t) for t in (np.float16, np.float64, np.int64, bool, complex)]
        others += [np.full(array.shape, v) for v in (np.nan, np.inf, 1e300, -1, 2**62)]
    arrays = {**arrays, name: draw.choice(others)}
    if draw.random() < 0.2:
        arrays[draw.choice(["", "x/y", name.upper(), "é"])] = arrays.pop(name)
    return arrays

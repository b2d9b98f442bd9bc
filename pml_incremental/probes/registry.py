"""Finding probes by the names that configs write."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pml_incremental.by_name import find_by_name
from pml_incremental.probes.compose import Probe, in_turn, probe_name, side_by_side
from pml_incremental.probes.drawn import blobs, dead_leaves, strokes
from pml_incremental.probes.mixing import cut_and_mix, mixup
from pml_incremental.probes.warp import warp

PROBES: dict[str, Callable[..., Tensor]] = {
    "blobs": blobs,
    "cut_and_mix": cut_and_mix,
    "dead_leaves": dead_leaves,
    "mixup": mixup,
    "strokes": strokes,
    "warp": warp,
}
_Composition: TypeAlias = Callable[[Sequence[Probe]], Probe]


def build_probe(spec: Any) -> Probe:
    """Build a probe from the form it has in configs.

    Args:
        spec: a name of ``PROBES``; ``module:callable``; ``{name: {options}}``; a function of images
            and a generator; or a list of these, which each make an equal share of the images. In a
            list, a list stands for probes that act one after another; in that, again for shares.

    Returns:
        A probe. What each of its parts makes is checked when it is called.

    Raises:
        ValueError: if there is none of that name, with the nearest; if a list is empty; or if an
            option of one of ``PROBES`` is outside of its range.
        TypeError: if a spec has none of these forms, or the function does not take the options.

    Example:
        >>> probe = build_probe(["warp", [{"warp": {"degrees": 90}}, "cut_and_mix"], "strokes"])
        >>> probe(torch.rand(8, 1, 16, 16), torch.Generator().manual_seed(0)).shape
        torch.Size([8, 1, 16, 16])
        >>> build_probe("wrap")
        Traceback (most recent call last):
        ValueError: there is no probe 'wrap'; did you mean 'warp'; your own is written \
module:callable
    """
    if isinstance(spec, (list, tuple)):
        return _composed(spec, side_by_side, in_turn)
    return in_turn([_single(spec)])


def _composed(spec: Sequence[Any], compose: _Composition, compose_within: _Composition) -> Probe:
    return compose(
        [
            _composed(part, compose_within, compose)
            if isinstance(part, (list, tuple))
            else _single(part)
            for part in spec
        ]
    )


def _single(spec: Any) -> Probe:
    """A function with its options, both checked."""
    if callable(spec):
        _check_options(probe_name(spec), spec, {})
        return spec  # type: ignore[no-any-return]
    name, options = _name_and_options(spec)
    function = _find(name)
    _check_options(name, function, options)
    return partial(function, **options) if options else function


def _name_and_options(spec: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((name, options),) = spec.items()
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, options or {}
    raise TypeError(
        f"a probe is a name, {{name: {{options}}}} or a function, or a list of these, got {spec!r}"
    )


def _find(name: str) -> Callable[..., Any]:
    found = find_by_name("probe", name, PROBES, own="module:callable")
    if not callable(found):
        raise TypeError(f"the probe {name!r} must be a function, got {found!r}")
    return found  # type: ignore[no-any-return]


def _check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise if a function does not take its options, or ours, on a small image, their values."""
    images, generator = torch.zeros(1, 1, 4, 4), torch.Generator()
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # of a compiled function that does not tell
    try:
        signature.bind(images, generator, **options)
    except TypeError as error:
        taken = ", ".join(list(signature.parameters)[2:]) or "none"
        raise TypeError(f"the probe {name!r}: {error}; its options: {taken}") from error
    if function in PROBES.values():
        function(images, generator, **options)

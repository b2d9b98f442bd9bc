"""Probes by the names that configs write."""

import sys
import types

import pytest
import torch

from pml_incremental import probes
from pml_incremental.probes import PROBES, build_probe, cut_and_mix, in_turn, side_by_side, warp


def images(count=6):
    return torch.rand(count, 3, 8, 8, generator=seeded())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def made(probe):
    return probe(images(), seeded(1))


@pytest.fixture
def own(monkeypatch):
    """A module of one's own, ``own_probes``."""

    def times(images, generator, factor=2):
        return images * factor

    def needs(images, generator, *, strength):
        return images * strength

    def crop(images, generator):
        return images[..., :4]

    module = types.ModuleType("own_probes")
    vars(module).update(times=times, needs=needs, crop=crop, number=3)
    monkeypatch.setitem(sys.modules, "own_probes", module)
    return module


def test_every_probe_of_the_package_has_its_name():
    assert set(PROBES) == {"warp", "cut_and_mix", "mixup", "strokes", "blobs", "dead_leaves"}
    for name, probe in PROBES.items():
        assert probe is getattr(probes, name)
        assert torch.equal(made(build_probe(name)), made(probe))


@pytest.mark.parametrize(
    "spec",
    [
        {"warp": {"degrees": 5, "scale": [1, 1.5]}},
        {"pml_incremental.probes:warp": {"degrees": 5, "scale": [1, 1.5]}},
        lambda images, generator: warp(images, generator, 5, (1, 1.5)),
    ],
)
def test_forms_of_one_probe(spec):
    expected = warp(images(), seeded(1), degrees=5, scale=(1, 1.5))
    assert torch.equal(made(build_probe(spec)), expected)


@pytest.mark.parametrize("spec", ["warp", {"warp": None}, {"warp": {}}, warp])
def test_options_may_be_left_out(spec):
    assert torch.equal(made(build_probe(spec)), made(warp))


def test_lists_are_side_by_side_and_lists_within_are_in_turn():
    built = build_probe(["warp", ["warp", "cut_and_mix"], "mixup"])
    expected = side_by_side([warp, in_turn([warp, cut_and_mix]), PROBES["mixup"]])
    assert torch.equal(made(built), made(expected))
    built = build_probe([[["warp", "strokes"], "cut_and_mix"]])  # levels alternate
    within = in_turn([side_by_side([warp, PROBES["strokes"]]), cut_and_mix])
    assert torch.equal(made(built), made(side_by_side([within])))


def test_ones_own_objects_that_can_be_called_and_compiled_functions(own):
    class Negative:
        def __call__(self, images, generator):
            return -images

    assert torch.equal(made(build_probe("own_probes:times")), images() * 2)
    assert torch.equal(made(build_probe({"own_probes:times": {"factor": 3}})), images() * 3)
    assert torch.equal(made(build_probe({"own_probes:needs": {"strength": 4}})), images() * 4)
    assert torch.equal(made(build_probe(Negative())), -images())
    assert callable(build_probe("torch:relu"))  # does not tell its arguments


def test_what_ones_own_makes_is_checked_when_it_is_called(own):
    for spec in ("own_probes:crop", ["own_probes:crop"], own.crop):
        probe = build_probe(spec)
        with pytest.raises(ValueError, match="the probe 'crop' made images of shape"):
            made(probe)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("wrap", ValueError, "there is no probe 'wrap'; did you mean 'warp'; .* module:callable"),
        ("nonsense", ValueError, "known: blobs, cut_and_mix, dead_leaves, mixup, strokes, warp"),
        ("no_such_module:probe", ValueError, "cannot find the probe 'no_such_module:probe': No m"),
        ("own_probes:absent", ValueError, "cannot find the probe .* no attribute 'absent'"),
        ("own_probes:number", TypeError, "'own_probes:number' must be a function, got 3"),
        (":warp", ValueError, "cannot find the probe ':warp'"),
        ({"warp": {"degree": 9}}, TypeError, "the probe 'warp': .*'degree'; its options: degrees,"),
        ({"cut_and_mix": {"alpha": 9}}, TypeError, "'cut_and_mix': .*'alpha'; its options: none"),
        ({"warp": {"images": 9}}, TypeError, "the probe 'warp': multiple values for .*'images'"),
        ({"warp": {90: 1}}, TypeError, "the probe 'warp': "),
        ("own_probes:needs", TypeError, "the probe 'own_probes:needs': missing .*'strength'"),
        (lambda images: images, TypeError, "the probe '<lambda>': too many positional arguments"),
        ({"warp": {"degrees": -9}}, ValueError, "degrees of warp must be .*at least 0, got -9"),
        ({"warp": {"degrees": "9"}}, TypeError, "degrees of warp must be a number, got '9'"),
        (["mixup", [{"mixup": {"alpha": 0}}]], ValueError, "alpha of mixup must be .*above 0"),
        ({"dead_leaves": {"leaves": 0}}, ValueError, "leaves of dead_leaves must be at least 1"),
        ([], ValueError, "side_by_side got no probes"),
        (["warp", []], ValueError, "in_turn got no probes"),
        ({"warp": {}, "mixup": {}}, TypeError, "a probe is a name, .* got {'warp': {}, 'mixup'"),
        ({"warp": 90}, TypeError, "a probe is a name, .* got {'warp': 90}"),
        (3, TypeError, "a probe is a name, .* got 3"),
        (None, TypeError, "a probe is a name, .* got None"),
    ],
)
def test_what_cannot_be_built_is_said(own, spec, error, message):
    with pytest.raises(error, match=message):
        build_probe(spec)

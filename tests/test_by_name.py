"""Finding things by a registered name or by where they are."""

import math

import pytest

from pml_incremental.by_name import find_by_name

KNOWN = {"green": 1, "red": 2}


def find(name):
    return find_by_name("hue", name, KNOWN, own="module:value")


def test_registered_names_and_places():
    assert find("red") == 2
    assert find("math:pi") == math.pi


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gren", "there is no hue 'gren'; did you mean 'green'; your own is written module:value"),
        ("x", "there is no hue 'x'; known: green, red; your own"),
        ("math:tau_", "cannot find the hue 'math:tau_': .* has no attribute 'tau_'"),
        ("no_such_module:x", "cannot find the hue 'no_such_module:x': No module named"),
        (":x", "cannot find the hue ':x': Empty module name"),
        (".math:pi", "cannot find the hue '.math:pi'"),
    ],
)
def test_what_is_not_there_is_said(name, message):
    with pytest.raises(ValueError, match=message):
        find(name)

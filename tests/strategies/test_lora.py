"""The strategy brings the adapter that its options say, and needs peft for it alone."""

import sys

import pytest

from pml_incremental.strategies import STRATEGIES


def test_options_are_those_of_the_adapter():
    pytest.importorskip("peft", reason="needs the extra peft")
    (component,) = STRATEGIES["lora"](rank=3, alpha=5, layers=("qkv", "proj")).components
    config = component.adapter()
    assert (config.r, config.lora_alpha, config.target_modules) == (3, 5, {"qkv", "proj"})
    (component,) = STRATEGIES["lora"]().components
    assert component.adapter().target_modules is None  # found from the trunk


@pytest.mark.parametrize("options", [{"rank": 0}, {"alpha": 0.0}, {"alpha": float("nan")}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match="rank must be at least 1 and alpha above 0, got "):
        STRATEGIES["lora"](**options)


def test_without_peft_it_can_be_named_but_not_learned_with(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    (component,) = STRATEGIES["lora"]().components  # as a report of a run with it does
    with pytest.raises(ModuleNotFoundError, match=r"lora needs peft: pip install .*\[peft\]"):
        component.adapter()

"""Mutated files: read as what they say, or refused with an error of our own, and no other."""

import random
from pathlib import Path

import pytest
import torch

from pml_incremental.config import ConfigError, ExperimentConfig, load_config, validate
from pml_incremental.storage import (
    DamagedFileError,
    pack_state,
    read_checked_json,
    read_tensor_file,
    unpack_state,
    write_checked_json,
    write_tensor_file,
)

pytestmark = pytest.mark.slow  # whole runs

CONFIGS = Path(__file__).parents[2] / "configs"
TEXTS, BYTES, NUMBERS = 700, 1000, 300
TOKENS = (
    *["null", "~", "[]", "{}", "[", "}", ":", "&a", "*a", "!!python/object:os.system"],
    *("- ", "<<: *a", "!!int x", "1e999", "-.inf", ".nan", "0", "-1", "1" * 400, "'", '"', "\t"),
    *("\x00", "\u2028", "os:system", "torch.hub:load", "{" * 300, "[" * 3000, "é", "%", "#", "|"),
    *(">", "? ", "yes"),
)


def mutated(text, draw):
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


def damaged(content, draw):
    """The bytes with a flipped bit, a part removed, doubled, zeroed or made random."""
    content = bytearray(content)
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.choice((1, 8, 64, 4096)))
    part = content[start:end]
    change = draw.randrange(6)
    if change == 0:
        content[start] ^= 1 << draw.randrange(8)
    elif change == 1:
        content[start:end] = b""
    elif change == 2:
        content[start:end] = part + part
    elif change == 3:
        content[start:end] = bytes(len(part))
    elif change == 4:
        content[start:end] = draw.randbytes(len(part))
    else:
        del content[start:]
    return bytes(content)


def test_mutated_configs(tmp_path):
    draw = random.Random(0)
    texts = [(CONFIGS / f"{name}.yaml").read_text() for name in ("glyphs", "folder", "emoji_pair")]
    path, valid, unnamed = tmp_path / "config.yaml", 0, []
    for _ in range(TEXTS):
        path.write_text(mutated(draw.choice(texts), draw), encoding="utf-8")
        try:
            config = load_config([path])
            validate(config)
        except ConfigError as error:
            unnamed += [problem for problem in error.problems if str(path) not in problem]
        else:
            valid += 1
            assert ExperimentConfig.model_validate(config.to_yaml_dict()) == config
    assert not unnamed
    assert TEXTS / 10 < valid < TEXTS


@pytest.fixture(scope="module")
def state():
    weight = torch.nn.Parameter(torch.randn(16, 8))
    optimizer = torch.optim.Adam([weight])
    weight.square().sum().backward()
    optimizer.step()
    return {"optimizer": optimizer.state_dict(), "epoch": 3, "random": torch.get_rng_state()}


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return first == second


def refused_and_right(path, times, seed, read, is_right):
    """How many of many damaged copies of a file are refused by name, and how many read right."""
    draw, whole, refused, right = random.Random(seed), path.read_bytes(), 0, 0
    for _ in range(times):
        path.write_bytes(damaged(whole, draw))
        try:
            found = read(path, "start again")
        except DamagedFileError as error:
            refused += str(path) in str(error) and "start again" in str(error)
        else:
            right += is_right(found)
    return refused, right


def test_mutated_checkpoints(tmp_path, state):
    path = tmp_path / "checkpoint.safetensors"
    plain, tensors = pack_state(state)
    write_tensor_file(path, tensors, plain)
    refused, right = refused_and_right(
        path, BYTES, 1, read_tensor_file, lambda f: same(unpack_state(f.state, f.tensors), state)
    )
    assert refused + right == BYTES
    assert refused > BYTES * 0.9


def test_mutated_numbers(tmp_path):
    path = tmp_path / "evaluation.json"
    values = {"own/recall_at_1": {"task_1": 1 / 3, "task_2": None}, "joint/recall_at_1": {}}
    write_checked_json(path, values)
    refused, right = refused_and_right(
        path, NUMBERS, 2, read_checked_json, lambda found: found == values
    )
    assert refused + right == NUMBERS
    assert refused > NUMBERS * 0.9


def test_aliases_that_grow_without_end_and_deep_nesting_are_refused(tmp_path):
    path = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="holds more than 100000 values"):
        load_config([path])
    path.write_text("a: " + "[" * 20_000 + "]" * 20_000)
    with pytest.raises(ConfigError, match=r"bomb.yaml: nested too deeply"):
        load_config([path])

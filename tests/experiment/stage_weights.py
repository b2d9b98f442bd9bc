"""What the stages of a run learned."""

import torch
from safetensors.torch import load_file


def weights(folder, stage):
    return load_file(folder / stage / "model.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)

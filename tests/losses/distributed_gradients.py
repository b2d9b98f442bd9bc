"""Run in each process of a gloo group: what a distributed step does to a model's gradients."""

import torch
from pytorch_metric_learning.utils.distributed import DistributedLossWrapper
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


def save_gradients(rank, world_size, folder, model, images, labels, losses, teachers, drawing):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
    )
    mine = slice(rank * len(images) // world_size, (rank + 1) * len(images) // world_size)
    student = DistributedDataParallel(model)
    results = {}
    for name, loss in losses.items():
        student.zero_grad()
        wrapped = DistributedLossWrapper(loss)
        value = wrapped(student(images[mine]), labels[mine], ref_emb=teachers[name][mine])
        value.backward()
        results[name] = value.item() / world_size, student.module.weight.grad.clone()
    efficient = DistributedLossWrapper(losses[name], efficient=True)
    try:
        efficient(student(images[mine]), labels[mine], ref_emb=teachers[name][mine])
    except ValueError as error:
        results["refusal"] = str(error)
    results["drawn"] = drawn_twice(drawing, images[mine, :-1], teachers["estimation"][mine])
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def drawn_twice(loss, student, teacher):
    """The values of a loss that draws at random, and the gradient of their sum."""
    leaf = student.clone().requires_grad_()
    values = [DistributedLossWrapper(loss)(leaf, ref_emb=teacher) for _ in range(2)]
    sum(values).backward()
    return [value.item() for value in values], leaf.grad

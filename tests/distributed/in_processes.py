"""Run in each process of a gloo group: what the processes tell each other, and what they learn."""

import torch
from pytorch_metric_learning.losses import ProxyAnchorLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import distributed, nn
from torch.utils.data import BatchSampler, TensorDataset

from pml_incremental.distributed import FirstProcessError, Processes, RankBatches, share_batchnorm
from pml_incremental.distributed.processes import copy_from_rank_zero
from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.regularizers import MAS
from pml_incremental.strategies.estimation import embed_in_shares
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import IncrementalTrainWithClassifier, Teacher

N, WIDTH, CLASSES = 12, 5, 4
SHAPES = {"rows": (N, 6), "maps": (N, 6, 3, 2)}


def in_group(rank, size, folder, function):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size
    )
    torch.save(function(Processes(rank, size)), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def everything(processes):
    return {
        "gathered": gathered(processes),
        "batchnorm": {name: normalised(processes, shape) for name, shape in SHAPES.items()},
        "told": told(processes),
        "batches": batches(processes),
        "embedded": embedded(processes),
        "learned": learned(processes),
        "own streams": own_streams(processes),
        "copied": copied(processes),
        "observed": observed(processes),
    }


def observed(processes):
    """What two models make of 11 images in batches of 4, and how many this process embedded."""
    torch.manual_seed(4)
    images = TensorDataset(torch.randn(11, WIDTH), torch.arange(11))
    embedded = []

    def counted(rows):
        embedded.append(len(rows))
        return rows.sin()

    pairs = embed_in_shares(images, [counted, torch.cos], 4, processes, torch.device("cpu"))
    return [torch.cat(rows) for rows in zip(*pairs, strict=True)], embedded, torch.rand(1)


def gathered(processes):
    """The loss of all rows, and this process's part of its gradient."""
    torch.manual_seed(0)
    rows = processes.share(torch.randn(N, WIDTH, dtype=torch.float64)).requires_grad_()
    loss = (processes.gather(rows) @ torch.randn(WIDTH, N, dtype=torch.float64)).sin().sum()
    loss.backward()
    return loss.detach(), rows.grad / processes.size


def normalised(processes, shape):
    """Output, gradient of input and weights, and statistics of BatchNorm after two batches."""
    torch.manual_seed(1)
    kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    norm = kind(shape[1], momentum=None if len(shape) == 2 else 0.1)
    nn.init.normal_(norm.weight)
    if processes.is_distributed:
        share_batchnorm(norm, torch.device("cpu"))
    for _ in range(2):
        norm.zero_grad()
        x = processes.share(3 + torch.randn(shape)).clone().requires_grad_()
        target = processes.share(torch.randn(shape))
        out = norm(x)
        (out * target).pow(2).sum().backward()
    weights = [weight.grad for weight in norm.parameters()]
    if processes.is_distributed:
        for gradient in weights:
            distributed.all_reduce(gradient)
    return {
        "output": out.detach(),
        "input": x.grad,
        "weights": weights,
        "statistics": norm.state_dict(),
        "evaluated": norm.eval()(x).detach(),
    }


def told(processes):
    """What the first process says, what it fails with, and the largest number."""

    def fail():
        raise ValueError("no such folder")

    def nest():
        return processes.on_rank_zero(lambda: [processes.rank, "inner"])

    try:
        processes.on_rank_zero(fail)
    except (ValueError, FirstProcessError) as error:
        failure = f"{type(error).__name__}: {error}"
    mine = processes.on_rank_zero(lambda: {1, 2, 3}, for_others=len)
    told = processes.all_max(7 * processes.rank), processes.broadcast("x")
    return failure, processes.on_rank_zero(nest), mine, *told


def copied(processes):
    """Weights and buffers that were each process's own."""
    torch.manual_seed(processes.rank)
    norm = nn.BatchNorm1d(3)
    norm(torch.randn(4, 3))
    copy_from_rank_zero([norm], processes)
    return norm.state_dict()


def batches(processes):
    """This process's parts of two passes, though its random stream is its own."""
    torch.manual_seed(processes.rank)
    sampler = MPerClassSampler(torch.arange(24) % 4, 2, 8, length_before_new_iter=24)
    shares = RankBatches(BatchSampler(sampler, 8, drop_last=True), processes)
    return [batch for _ in range(2) for batch in shares]


def embedded(processes):
    """Evaluations of seven images in batches of three, and of one image."""
    torch.manual_seed(2)
    images = torch.randn(7, WIDTH)
    cpu = torch.device("cpu")
    options = {"dataloader_num_workers": 0, "batch_size": 3, "data_device": cpu}
    tester = IncrementalTester(processes=processes, **options)
    splits = {
        "seven": TensorDataset(images, torch.arange(7) % 2),
        "one": TensorDataset(images[:1], torch.zeros(1, dtype=torch.int64)),
    }
    found = tester.evaluate(splits, nn.Linear(WIDTH, WIDTH))
    return found.own["recall_at_1"]["seven"], found.joint, found.embeddings


class Noise(nn.Module):
    """As dropout: a forward pass that draws random numbers."""

    def forward(self, x):
        self.drawn = torch.rand(4)
        return x


def trainer_of(processes, trunk, epochs=2, **options):
    """A trainer beside a teacher, with everything that has weights."""
    torch.manual_seed(3)
    images, labels = torch.randn(48, WIDTH), torch.arange(48) % CLASSES
    models = {
        "trunk": trunk,
        "embedder": nn.Linear(8, WIDTH),
        "classifier": nn.Linear(WIDTH, CLASSES),
    }
    if processes.is_distributed:
        models["trunk"] = share_batchnorm(models["trunk"], torch.device("cpu"))
    losses = {
        "metric_loss": ProxyAnchorLoss(CLASSES, WIDTH),
        "classifier_loss": nn.CrossEntropyLoss(),
        "correlation_loss": CorrelationDistillationLoss(),
    }
    mas = MAS()
    mas.consolidate(models, [images[:8]], lambda x: models["embedder"](models["trunk"](x)))
    optimizers = {
        f"{name}_optimizer": torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
        for name, module in {**models, "metric_loss": losses["metric_loss"]}.items()
    }
    return IncrementalTrainWithClassifier(
        models=models,
        optimizers=optimizers,
        batch_size=16,
        loss_funcs=losses,
        loss_weights={**dict.fromkeys(losses, 1.0), "correlation_loss": 10.0, "mas_loss": 0.1},
        penalties={"mas_loss": mas.penalty},
        dataset=TensorDataset(images, labels),
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        teacher=Teacher.snapshot(models),
        progress=False,
        processes=processes,
        **options,
    )


def network():
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Linear(WIDTH, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 8)
    )


def learned(processes):
    """Losses and gradients of the first step, and weights after two epochs."""
    first = {}

    def note(trainer):
        if not first:
            first["losses"] = {k: torch.as_tensor(v).detach() for k, v in trainer.losses.items()}
            first["gradients"] = {
                f"{owner}.{name}": parameter.grad.clone()
                for owner, module in trainer.trained_modules().items()
                for name, parameter in module.named_parameters()
            }

    trainer = trainer_of(processes, network(), end_of_iteration_hook=note)
    trainer.train(num_epochs=2)
    first["weights"] = {
        f"{owner}.{name}": tensor.detach()
        for owner, module in trainer.trained_modules().items()
        for name, tensor in module.state_dict().items()
    }
    return first


def own_streams(processes):
    """What a forward pass drew in the last iteration, and the common stream after it."""
    noise = Noise()
    trainer = trainer_of(processes, nn.Sequential(network(), noise))
    drawn = []
    trainer.end_of_iteration_hook = lambda _: drawn.append(noise.drawn)
    trainer.train(num_epochs=1)
    return torch.stack(drawn), torch.rand(3)

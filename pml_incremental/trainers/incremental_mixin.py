"""What turns a PML trainer into an incremental one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_incremental.models.change import pooled_maps, watched_maps
from pml_incremental.models.modes import evaluation_mode
from pml_incremental.trainers import _terms
from pml_incremental.trainers._terms import Compared, Penalty, StepObserver
from pml_incremental.trainers.batches import to_device
from pml_incremental.trainers.numerics import Autocast, Precision
from pml_incremental.trainers.probes import ProbePool, Probes, TurnedCopies
from pml_incremental.trainers.resumable_mixin import ResumableMixin
from pml_incremental.trainers.teacher import (
    Teacher,
    TeacherCache,
    TeacherOutputs,
    check_teacher,
    check_unchanging,
)
from pml_incremental.trainers.training_state import seed_generators, unchanged_random_state


class IncrementalMixin(ResumableMixin):
    """Adds a frozen teacher and named distillation losses to a PML trainer.

    Put it before the PML trainer in the bases. Every entry of ``loss_funcs`` that the PML trainer
    does not know (``correlation_loss``, ``estimation_loss``, ...) is a distillation loss: it is
    called as ``loss(embeddings, labels, ref_emb=teacher_embeddings)`` and weighted by
    ``loss_weights`` like the others. Without a teacher (the first task) distillation losses are
    zero and the trainer does exactly what the PML trainer does.

    The teacher is kept outside ``models``: PML saves, records and zeroes the gradients of
    everything there.

    Args:
        teacher: the model to learn beside, or None for the first task.
        teacher_precision: that the teacher computes in; default: the student's ``precision``.
        cache_teacher: compute the teacher's embeddings of all images once, before the first epoch,
            and look them up by index. The teacher must not change, and the images always be the
            same: a random transform is refused.
        cache_folder: where the cached embeddings lie, in a mapped file; default: in memory.
        compares: distillation losses that compare something other than embeddings, by name:
            ``"logits"`` of both; the pooled feature ``"maps"`` of both trunks
            (:func:`~pml_incremental.models.pooled_maps`); or the student's embeddings with the
            teacher's ``"embeddings_and_trunk"``, the output of its trunk after its embeddings
            (formerly ``"features"``).
        probes: distillation losses that compare student and teacher on images made from the batch
            instead of the batch itself, by name: how these are made. They leave BatchNorm's
            statistics alone. Losses with equal :class:`Probes` share the images; they are called
            with ``labels=None``. Several processes make them from the whole batch.
        turned: share of each batch's images, from 0 to 1, that join it turned by quarter turns,
            whole classes at a time; a class that is turned is a class of its own. The
            distillation losses see them, and the metric loss if it compares embeddings alone: a
            classifier, or a loss with weights for each class, sees the images as they are.
        penalties: by name, each added to the total with its entry of ``loss_weights``.
        observers: told of every optimizer step.
        freeze_trunk_batchnorm: as in PML, or ``"with_teacher"``: only when there is a teacher, for
            trunks that start from scratch.
        **kwargs: the arguments of :class:`ResumableMixin` and of the PML trainer.

    Raises:
        TypeError: if teacher is no :class:`Teacher`.
        ValueError: if a loss compares logits and there is no classifier, a penalty is named as a
            loss, loss_weights are not those of the losses and penalties, probes are for no
            distillation loss, turned is outside of its range, or a subset_batch_miner would leave
            cached embeddings without their images; while training, if the teacher is to be cached
            and the images are not always the same.
    """

    def __init__(
        self,
        *args: Any,
        teacher: Teacher | None = None,
        teacher_precision: Precision | None = None,
        cache_teacher: bool = False,
        cache_folder: str | Path | None = None,
        compares: Mapping[str, Compared] | None = None,
        probes: Mapping[str, Probes] | None = None,
        turned: float = 0.0,
        penalties: Mapping[str, Penalty] | None = None,
        observers: Sequence[StepObserver] = (),
        freeze_trunk_batchnorm: bool | Literal["with_teacher"] = False,
        **kwargs: Any,
    ) -> None:
        check_teacher(teacher)
        _terms.check_turned(turned)
        self.teacher = teacher
        self.cache_teacher = cache_teacher
        self.cache_folder = cache_folder
        self.teacher_cache: TeacherCache | None = None
        self.compares = _terms.current_kinds(compares or {})
        self.probes = dict(probes or {})
        self.turned = turned
        #: Rows of the batch that are no turned copies; None if all are.
        self.upright: Tensor | None = None
        self.probe_pools: list[tuple[Probes, ProbePool]] = []
        self.penalties = dict(penalties or {})
        self.observers = tuple(observers)
        self.last_embeddings: Tensor | None = None
        self.last_maps: Tensor | None = None
        if freeze_trunk_batchnorm == "with_teacher":
            freeze_trunk_batchnorm = teacher is not None
        kwargs["freeze_trunk_batchnorm"] = freeze_trunk_batchnorm
        super().__init__(*args, **kwargs)
        self.teacher_autocast = self.autocast
        if teacher_precision is not None:
            self.teacher_autocast = Autocast(teacher_precision, torch.device(self.data_device))

    def custom_setup(self) -> None:
        """Give the penalties their places among the losses."""
        super().custom_setup()
        _terms.check_compares(self.compares, self.models)
        _terms.check_penalties(self.penalties, self.loss_funcs)
        if self.cache_teacher and "subset_batch_miner" in self.mining_funcs:
            raise ValueError(
                "a subset_batch_miner takes images out of a batch, whose cached embeddings could "
                "not be told any more: leave out the miner, or cache_teacher"
            )
        self.loss_names += list(self.penalties)
        _terms.check_weights(self.loss_weights, self.loss_names)

    def initialize_dataloader(self) -> None:
        """As PML's; what is asked of the teacher once, before the first epoch, is asked here."""
        if self.cache_teacher and self.teacher_cache is None and self.wanted_losses():
            self.teacher_cache = self.fill_cache()
        if not self.probe_pools:
            self.probe_pools = [
                (probes, self.fill_pool(probes, kinds))
                for probes, kinds in self.wanted_on_probes()
                if probes.pool is not None
            ]
        if self.teacher is None:
            _terms.warn_of_idle(self.distillation_losses, self.loss_weights)
        super().initialize_dataloader()

    def modify_schema(self) -> None:
        """Let the losses that PML does not know in, as distillation losses.

        PML warns of every model without an optimizer; here only of those with something to learn,
        which an embedder that is left out (``nn.Identity``) has not.
        """
        super().modify_schema()
        self.schema["optimizers"].important = [
            f"{name}_optimizer"
            for name, model in self.models.items()
            if any(parameter.requires_grad for parameter in model.parameters())
        ]
        known = self.schema["loss_funcs"].keys
        self.distillation_losses = [name for name in self.loss_funcs if name not in known]
        _terms.check_probes(self.probes, self.distillation_losses)
        self.schema["loss_funcs"].keys = known + self.distillation_losses

    def calculate_loss(self, curr_batch: tuple[Tensor, Tensor]) -> None:  # type: ignore[override]
        """The PML trainer's losses, then the distillation losses on the same embeddings."""
        device = torch.device(self.data_device)
        data, labels = (to_device(part, device) for part in curr_batch)
        wanted = self.wanted_losses()
        # The teacher comes first: beside the student's activations it would need memory anew.
        on_probes = [(kinds, *self.make_probes(p, data)) for p, kinds in self.wanted_on_probes()]
        if self.turned:
            place = (torch.initial_seed(), self.epoch, self.iteration, self.batch_order.taken)
            copies = TurnedCopies.of(data, labels, self.turned, place, self.processes)
            data, labels = torch.cat([data, copies.images]), copies.labels
            self.upright = copies.upright
        targets = self.teacher_outputs(data, wanted) if wanted else None
        super().calculate_loss((data, labels))  # type: ignore[call-arg]
        if targets is not None:
            self.losses.update(self.compute_distillation(wanted, targets, labels))
        for kinds, images, targets in on_probes:
            with evaluation_mode(*self.models.values(), layers=_NormBase):
                self.compute_embeddings(images)
            self.losses.update(self.compute_distillation(kinds, targets, None))
        self.last_embeddings = self.last_maps = None
        for name, penalty in self.penalties.items():
            if self.loss_weights[name] != 0:
                self.losses[name] = penalty(self.trained_modules())

    def fill_cache(self) -> TeacherCache:
        """The teacher's outputs for all images, without a change to the random streams."""
        check_unchanging(self.dataset)
        wanted = self.wanted_losses()
        total = -(-len(self.dataset) // self.batch_size)
        title = f"{self.description} · teacher"
        with unchanged_random_state():
            batches = self.images_of_dataset(num_workers=self.dataloader_num_workers)
            shown = tqdm(batches, title, total, disable=not self.progress, leave=False)
            outputs = (self.ask_teacher(part, wanted) for part in shown)
            return TeacherCache.of(outputs, len(self.dataset), self.cache_folder)

    def fill_pool(self, probes: Probes, wanted: Mapping[str, Compared]) -> ProbePool:
        """Probes to take from in each batch, without a change to the random streams."""
        passes = (self.images_of_dataset(shuffle=True) for _ in itertools.count())
        device = torch.device(self.data_device)
        batches = (to_device(images, device) for one_pass in passes for images in one_pass)
        with unchanged_random_state():
            seed_generators(probes.seed)
            return ProbePool.of(probes, batches, partial(self.ask_teacher, wanted=wanted))

    def images_of_dataset(self, **options: Any) -> Iterator[Tensor]:
        """All images once, in batches."""
        loader = DataLoader(self.dataset, self.batch_size, collate_fn=self.collate_fn, **options)
        return (self.data_and_label_getter(batch)[0] for batch in loader)

    def make_probes(self, probes: Probes, data: Tensor) -> tuple[Tensor, TeacherOutputs]:
        """This process's probes for a batch, and the teacher's outputs for them."""
        # The last number keeps what one process drew in earlier versions.
        place = (self.epoch, self.iteration, self.batch_order.taken, 0)
        device = torch.device(self.data_device)
        for filled, pool in self.probe_pools:
            if filled == probes:
                images, outputs = pool.take(probes, len(data), place, self.processes)
                on_device = (to_device(output, device) for output in outputs)
                return to_device(images, device), TeacherOutputs(*on_device)
        images = probes.make(data, place, self.processes)
        return images, self.ask_teacher(images, self._wanted_on(probes))

    def maybe_mine_embeddings(self, embeddings: Tensor, labels: Tensor) -> Any:
        """As PML's, among what the metric loss learns from."""
        return super().maybe_mine_embeddings(*self.rows_to_learn(embeddings, labels))

    def maybe_get_metric_loss(self, embeddings: Tensor, labels: Tensor, indices_tuple: Any) -> Any:
        """As PML's, of what the metric loss learns from."""
        rows = self.rows_to_learn(embeddings, labels)
        return super().maybe_get_metric_loss(*rows, indices_tuple)  # type: ignore[misc]

    def rows_to_learn(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Without turned copies if the metric loss has weights for each class."""
        knows_classes = next(self.loss_funcs["metric_loss"].parameters(), None) is not None
        if self.upright is None or not knows_classes:
            return embeddings, labels
        return embeddings[self.upright], labels[self.upright]

    def wanted_losses(self) -> dict[str, Compared]:
        """The distillation losses of the batch that count, and what they compare, by name.

        None does without a teacher, nor those whose weight is 0.
        """
        return self._wanted_on(None)

    def wanted_on_probes(self) -> list[tuple[Probes, dict[str, Compared]]]:
        """The same for the losses of each kind of probes."""
        given = list(self.probes.values())
        kinds = [probes for place, probes in enumerate(given) if probes not in given[:place]]
        wanted = [(probes, self._wanted_on(probes)) for probes in kinds]
        return [(probes, losses) for probes, losses in wanted if losses]

    def _wanted_on(self, probes: Probes | None) -> dict[str, Compared]:
        if self.teacher is None:
            return {}
        return {
            name: self.compares.get(name, "embeddings")
            for name in self.distillation_losses
            if self.loss_weights[name] != 0 and self.probes.get(name) == probes
        }

    def teacher_outputs(self, data: Tensor, wanted: Mapping[str, Compared]) -> TeacherOutputs:
        """What the teacher makes of a batch, as far as losses want it; all but copies looked up."""
        if self.teacher_cache is None:
            return self.ask_teacher(data, wanted)
        device, own = torch.device(self.data_device), self.batch_order.last_taken
        found = [to_device(output, device) for output in self.teacher_cache.look_up(own)]
        if copies := len(data) - len(own):
            both = zip(found, self.ask_teacher(data[-copies:], wanted), strict=True)
            found = [torch.cat(rows) for rows in both]
        return TeacherOutputs(*found)

    def ask_teacher(self, data: Tensor, wanted: Mapping[str, Compared]) -> TeacherOutputs:
        """What the teacher makes of images, in its precision, as far as losses want it."""
        assert self.teacher is not None
        images = c_f.to_device(data, device=self.data_device, dtype=self.dtype)
        kinds = wanted.values()
        watches = "maps" in kinds
        with watched_maps(self.teacher.trunk if watches else None) as maps:
            embeddings, features = self.teacher_autocast(self.teacher.embed_with_features, images)
        nothing = embeddings[:, :0]
        with torch.no_grad():
            pooled = pooled_maps(maps) if watches else nothing
        return TeacherOutputs(
            embeddings, features if "embeddings_and_trunk" in kinds else nothing, pooled
        )

    def compute_distillation(
        self,
        wanted: Mapping[str, Compared],
        targets: TeacherOutputs,
        labels: Tensor | None,
    ) -> dict[str, Tensor]:
        """Every wanted distillation loss of what was embedded last; labels are None for probes."""
        assert self.teacher is not None
        embeddings = self.last_embeddings
        assert embeddings is not None
        gather = self.processes.gather
        goal = gather(targets.embeddings)
        pairs = {"embeddings": (embeddings, goal)}
        if "embeddings_and_trunk" in wanted.values():
            pairs["embeddings_and_trunk"] = (
                embeddings,
                torch.cat([goal, gather(targets.features)], dim=1),
            )
        if "maps" in wanted.values():
            assert self.last_maps is not None
            pairs["maps"] = gather(self.last_maps), gather(targets.maps)
        if "logits" in wanted.values():
            logits = self.autocast(self.models["classifier"], embeddings)
            pairs["logits"] = logits, self.teacher_autocast(self.teacher.classify, goal)
        losses = {}
        for name, kind in wanted.items():
            student, target = pairs[kind]
            losses[name] = self.loss_funcs[name](student, labels, ref_emb=target)
        return losses

    def compute_embeddings(self, data: Tensor) -> Tensor:
        """The student's embeddings, kept until the distillation losses have seen them."""
        watches = self.teacher is not None and any(
            kind == "maps" and self.loss_weights[name] != 0 for name, kind in self.compares.items()
        )
        with watched_maps(self.models["trunk"] if watches else None) as maps:
            embeddings: Tensor = super().compute_embeddings(data)
        self.last_embeddings = embeddings
        self.last_maps = pooled_maps(maps) if watches else None
        return embeddings

    def backward(self) -> None:
        """Back-propagate, and tell the observers if there will be a step."""
        super().backward()
        if self.has_overflowed:
            return
        for observer in self.observers:
            observer.before_step(self.trained_modules())

    def step_optimizers(self) -> None:
        """Step, and tell the observers."""
        super().step_optimizers()
        if not self.has_stepped:
            return
        for observer in self.observers:
            observer.after_step(self.trained_modules(), self.teacher)

"""Turned copies as classes of their own, in real trainers."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import ProxyAnchorLoss, TripletMarginLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import nn

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.trainers import IncrementalTrainWithClassifier
from pml_incremental.trainers.training_state import seed_generators


class Watched(TripletMarginLoss):
    """Notes what it is given."""

    def forward(self, embeddings, labels, *args, **kwargs):
        self.seen = [*getattr(self, "seen", []), (embeddings.detach(), labels)]
        return super().forward(embeddings, labels, *args, **kwargs)


def trained(trainer, state=None):
    seed_generators(3)
    trainer.train(num_epochs=2, state=state)
    return torch.cat([p.detach().flatten() for p in trainer.models["embedder"].parameters()])


def losses(metric):
    return {"metric_loss": metric, "correlation_loss": CorrelationDistillationLoss()}


def test_metric_and_distillation_losses_see_the_copies(build):
    metric = Watched()
    trainer = build(loss_funcs=losses(metric), turned=0.5)
    trained(trainer)
    embeddings, labels = metric.seen[0]
    assert len(embeddings) == len(labels) == 12
    assert int((labels < 0).sum()) == 4
    assert (labels[8:] < 0).all()
    originals = labels[:8].tolist()
    classes = [(-1 - label) // 3 for label in labels[8:].tolist()]
    in_part = [c for c in set(classes) if classes.count(c) < originals.count(c)]
    assert set(classes) <= set(originals)
    assert len(in_part) <= 1


def test_the_distillation_losses_compare_copies_with_the_teacher(build, models):
    seen = {}

    class Noted(CorrelationDistillationLoss):
        def forward(self, embeddings, labels, ref_emb):
            seen.setdefault("pair", (embeddings.detach(), ref_emb))
            return super().forward(embeddings, labels, ref_emb=ref_emb)

    trainer = build(models=models, turned=1.0, loss_funcs=losses(TripletMarginLoss()))
    trainer.loss_funcs["correlation_loss"] = Noted()
    trainer.freeze_trunk_batchnorm = True
    student = copy.deepcopy(models)
    trainer.teacher.trunk.load_state_dict(student["trunk"].state_dict())
    trainer.teacher.embedder.load_state_dict(student["embedder"].state_dict())
    trained(trainer)
    embeddings, targets = seen["pair"]
    assert embeddings.shape == targets.shape == (16, 6)
    torch.testing.assert_close(embeddings, targets)


def test_no_copies_is_training_as_before(build):
    assert torch.equal(trained(build()), trained(build(turned=0.0)))
    assert not torch.equal(trained(build()), trained(build(turned=0.5)))


def test_a_resumed_training_ends_the_same_to_the_bit(build, saves):
    whole = trained(build(turned=0.5, checkpointer=saves))
    torch.rand(9)
    resumed = build(turned=0.5)
    assert torch.equal(whole, trained(resumed, copy.deepcopy(saves.states[3])))


def test_a_cached_teacher_is_asked_for_the_copies_alone(build):
    cached, asked = (build(turned=0.5, cache_teacher=cache) for cache in (True, False))
    torch.testing.assert_close(trained(cached), trained(asked))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(build, share):
    with pytest.raises(ValueError, match="turned must be from 0 to 1"):
        build(turned=share)


def test_a_loss_with_weights_for_each_class_sees_the_images_as_they_are(build):
    class WatchedProxies(ProxyAnchorLoss):
        def forward(self, embeddings, labels, *args, **kwargs):
            self.seen = labels
            return super().forward(embeddings, labels, *args, **kwargs)

    metric = WatchedProxies(4, 6)
    miner = MultiSimilarityMiner()
    trainer = build(turned=0.5, loss_funcs=losses(metric), mining_funcs={"tuple_miner": miner})
    trained(trainer)
    assert metric.seen.shape == (8,)
    assert metric.seen.min() >= 0


def test_a_classifier_learns_the_images_as_they_are(build, models):
    class Noted(nn.CrossEntropyLoss):
        def forward(self, logits, labels):
            self.seen = labels
            return super().forward(logits, labels)

    models["classifier"] = nn.Linear(6, 4)
    metric, of_classes = Watched(), Noted()
    trainer = build(
        models=models,
        trainer_class=IncrementalTrainWithClassifier,
        turned=0.5,
        loss_funcs={**losses(metric), "classifier_loss": of_classes},
    )
    trained(trainer)
    assert of_classes.seen.shape == (8,)
    assert of_classes.seen.min() >= 0
    assert len(metric.seen[-1][1]) == 12

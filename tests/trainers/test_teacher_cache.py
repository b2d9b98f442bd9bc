"""A teacher's embeddings computed once."""

import copy
import random

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import nn
from torch.utils.data import Dataset
from torchvision import transforms

from pml_incremental.losses import EmbeddingDistillationLoss, LogitDistillationLoss
from pml_incremental.models import GrowingClassifier
from pml_incremental.scenarios import TaskSubset
from pml_incremental.trainers import (
    IncrementalTrainWithClassifier,
    Teacher,
    TeacherCache,
    check_unchanging,
)


class CountingTeacher(Teacher):
    images = 0

    def embed_with_features(self, images):
        self.images += len(images)
        return super().embed_with_features(images)


def counting(models):
    teacher = Teacher.snapshot(models)
    with torch.no_grad():
        teacher.embedder.weight.normal_()
    return CountingTeacher(teacher.trunk, teacher.embedder, teacher.classifier)


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_training_is_the_same_and_each_image_embedded_once(
    build, train, models, weights_of, tmp_path, accumulation_steps
):
    teacher = counting(models)
    options = {"teacher": teacher, "accumulation_steps": accumulation_steps}
    computed = weights_of(train(build(copy.deepcopy(models), **options), num_epochs=3))
    assert teacher.images == 3 * 40
    teacher.images = 0
    options |= {"cache_teacher": True, "cache_folder": tmp_path}
    trainer = train(build(copy.deepcopy(models), **options), num_epochs=3)
    assert teacher.images == 40
    for key, value in weights_of(trainer).items():
        torch.testing.assert_close(value, computed[key])
    assert trainer.teacher_cache.outputs.embeddings.shape == (40, 6)
    assert trainer.teacher_cache.outputs.features.shape == (40, 0)
    assert not list(tmp_path.iterdir())  # the mapped file has no name


def test_rows_are_those_of_the_images(build):
    trainer = build(cache_teacher=True)
    trainer.train()
    images = trainer.dataset.tensors[0]
    found = trainer.teacher_cache.look_up([7, 0, 7]).embeddings
    torch.testing.assert_close(found, trainer.teacher.embed(images[[7, 0, 7]]))


def test_training_goes_on_to_the_bit(assert_resumes):
    assert_resumes(cache_teacher=True)


def test_features_and_logits_come_from_the_cache(build, train, models, weights_of):
    models["classifier"] = GrowingClassifier(6, 4)
    options = {
        "trainer_class": IncrementalTrainWithClassifier,
        "teacher": counting(models),
        "loss_funcs": {
            "metric_loss": TripletMarginLoss(),
            "classifier_loss": nn.CrossEntropyLoss(),
            "lwf_loss": LogitDistillationLoss(),
            "all_loss": Features(),
        },
        "compares": {"lwf_loss": "logits", "all_loss": "embeddings_and_trunk"},
    }
    computed, cached = (
        weights_of(train(build(copy.deepcopy(models), cache_teacher=cache, **options)))
        for cache in (False, True)
    )
    for key, value in computed.items():
        torch.testing.assert_close(cached[key], value)


class Features(nn.Module):
    """Of the teacher's features, those that the student's embeddings are compared with."""

    def forward(self, embeddings, labels, ref_emb):
        assert ref_emb.shape[1] == 6 + 12
        return EmbeddingDistillationLoss()(embeddings, ref_emb=ref_emb[:, -6:])


def test_loading_processes_fill_it_too(build):
    trainer = build(cache_teacher=True, dataloader_num_workers=1)
    trainer.initialize_dataloader()
    exact = trainer.teacher.embed(trainer.dataset.tensors[0])
    torch.testing.assert_close(trainer.teacher_cache.outputs.embeddings, exact)


def test_without_teacher_or_loss_nothing_is_computed(build, models):
    teacher = counting(models)
    trainer = build(
        models,
        teacher=teacher,
        cache_teacher=True,
        loss_weights={"metric_loss": 1, "correlation_loss": 0},
    )
    trainer.train()
    assert teacher.images == 0
    build(teacher=None, cache_teacher=True).train()


def test_batch_miner_is_refused(build):
    with pytest.raises(ValueError, match="a subset_batch_miner takes images out of a batch"):
        build(cache_teacher=True, mining_funcs={"subset_batch_miner": lambda *batch: None})


def test_batches_that_do_not_make_up_the_images_are_refused():
    batch = torch.zeros(2, 3), torch.zeros(2, 0)
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"gave {2 * count} images where it has 4"):
            TeacherCache.of([batch] * count, images=4)


class Pictures(Dataset):
    """Raw pictures of random pixels."""

    def __init__(self, count=12):
        self.labels = [0] * count

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        return transforms.ToPILImage()(pixels), 0


class OwnNoise:
    """Draws from no generator that is known."""

    def __init__(self):
        self.generator = np.random.default_rng()

    def __call__(self, image):
        return image + float(self.generator.normal())

    def __repr__(self):
        return "OwnNoise()"


def subset(*steps):
    places = np.arange(12)
    transform = transforms.Compose(list(steps)) if steps else None
    return TaskSubset(Pictures(), places, places * 0, places * 0, transform)


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (transforms.RandomHorizontalFlip(0.5), r"RandomHorizontalFlip\(p=0.5\)"),
        (transforms.RandomGrayscale(1e-6), r"RandomGrayscale\(p=1e-06\)"),
        (transforms.RandomAffine(10), r"RandomAffine\(.*\)"),
        (transforms.Lambda(lambda image: image.rotate(random.random())), r"Lambda\(\)"),
    ],
)
def test_random_transform_is_named(step, name):
    images = subset(transforms.Resize(8), step, transforms.ToTensor())
    with pytest.raises(ValueError, match=f"always the same, and {name} is random"):
        check_unchanging(images)


def test_noise_from_a_generator_of_its_own_is_named():
    with pytest.raises(ValueError, match=r"and OwnNoise\(\) is random"):
        check_unchanging(subset(transforms.ToTensor(), OwnNoise()))


def test_dataset_that_is_random_itself_is_named():
    class Noise(Pictures):
        def __getitem__(self, index):
            return torch.rand(3), 0

    with pytest.raises(ValueError, match="and what Noise gives is random"):
        check_unchanging(Noise())


def test_transforms_that_are_not_random_pass_and_leave_the_generators_alone():
    images = subset(transforms.Resize(8), transforms.CenterCrop(4), transforms.ToTensor())
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    check_unchanging(images)
    check_unchanging(subset())
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]

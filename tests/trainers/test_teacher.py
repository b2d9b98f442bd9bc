"""A teacher, and its embeddings computed once."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset
from torchvision import transforms

from pml_incremental.losses import EmbeddingDistillationLoss, LogitDistillationLoss
from pml_incremental.models import GrowingClassifier
from pml_incremental.scenarios import TaskSubset
from pml_incremental.trainers import Teacher, TeacherCache, check_unchanging


def test_snapshot_does_not_follow_the_student_and_leaves_it_trainable(models, images):
    teacher = Teacher.snapshot(models)
    pixels = images.tensors[0].requires_grad_()
    before = teacher.embed(pixels)
    assert not before.requires_grad
    assert all(p.requires_grad for model in models.values() for p in model.parameters())
    assert models["trunk"].training
    assert not teacher.trunk.training
    assert not any(p.requires_grad for p in teacher.trunk.parameters())
    models["trunk"](pixels)  # moves BatchNorm's statistics
    with torch.no_grad():
        for model in models.values():
            for parameter in model.parameters():
                parameter.add_(1)
    torch.testing.assert_close(teacher.embed(pixels), before)


def test_embedder_is_optional_and_logits_need_a_classifier():
    trunk = nn.Flatten()
    images = torch.randn(5, 1, 4, 4)
    torch.testing.assert_close(Teacher(trunk).embed(images), images.flatten(1))
    torch.testing.assert_close(Teacher.snapshot({"trunk": trunk}).embed(images), images.flatten(1))
    with pytest.raises(ValueError, match="the teacher has no classifier"):
        Teacher(trunk).classify(torch.zeros(2, 3))


def test_teacher_embeds_before_the_student_does(build):
    trainer, order = build(), []
    trainer.teacher.trunk.register_forward_hook(lambda *_: order.append("teacher"))
    trainer.models["trunk"].register_forward_hook(lambda *_: order.append("student"))
    trainer.train(num_epochs=1)
    # Beside the student's activations the teacher's would need memory anew, each time.
    assert order[:4] == ["teacher", "student"] * 2


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
    torch.testing.assert_close(weights_of(trainer), computed)
    assert trainer.teacher_cache.outputs.embeddings.shape == (40, 6)
    assert trainer.teacher_cache.outputs.features.shape == (40, 0)
    assert not list(tmp_path.iterdir())  # the mapped file has no name


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_are_those_of_the_images(build, workers):
    trainer = build(cache_teacher=True, dataloader_num_workers=workers)
    trainer.initialize_dataloader()
    images = trainer.dataset.tensors[0]
    exact = trainer.teacher.embed(images)
    torch.testing.assert_close(trainer.teacher_cache.outputs.embeddings, exact)
    found = trainer.teacher_cache.look_up([7, 0, 7]).embeddings
    torch.testing.assert_close(found, exact[[7, 0, 7]])


def test_training_goes_on_to_the_bit(assert_resumes):
    assert_resumes(cache_teacher=True)


class Features(nn.Module):
    """Of the teacher's features, those that the student's embeddings are compared with."""

    def forward(self, embeddings, labels, ref_emb):
        assert ref_emb.shape[1] == 6 + 12
        return EmbeddingDistillationLoss()(embeddings, ref_emb=ref_emb[:, -6:])


def test_features_and_logits_come_from_the_cache(build, train, models, weights_of):
    models["classifier"] = GrowingClassifier(6, 4)
    options = {
        "teacher": counting(models),
        "losses": {"lwf_loss": LogitDistillationLoss(), "all_loss": Features()},
        "compares": {"lwf_loss": "logits", "all_loss": "embeddings_and_trunk"},
    }
    computed, cached = (
        weights_of(train(build(copy.deepcopy(models), cache_teacher=cache, **options)))
        for cache in (False, True)
    )
    torch.testing.assert_close(cached, computed)


def test_without_teacher_or_loss_nothing_is_computed(build, models):
    teacher = counting(models)
    weights = {"metric_loss": 1, "correlation_loss": 0}
    build(models, teacher=teacher, cache_teacher=True, loss_weights=weights).train()
    assert teacher.images == 0
    build(teacher=None, cache_teacher=True).train()


def test_batches_that_do_not_make_up_the_images_are_refused():
    batch = torch.zeros(2, 3), torch.zeros(2, 0)
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"gave {2 * count} images where it has 4"):
            TeacherCache.of([batch] * count, images=4)


class Pictures(Dataset):
    """Raw pictures of random pixels."""

    labels = (0,) * 12

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        return transforms.ToPILImage()(pixels), 0


class Noise(Pictures):
    def __getitem__(self, index):
        return torch.rand(3), 0


class OwnNoise:
    """Draws from no generator that is known."""

    def __init__(self):
        self.generator = np.random.default_rng()

    def __call__(self, image):
        return image.rotate(float(self.generator.uniform(0, 360)))

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
        (OwnNoise(), r"OwnNoise\(\)"),
    ],
)
def test_random_transform_is_named(step, name):
    images = subset(transforms.Resize(8), step, transforms.ToTensor())
    with pytest.raises(ValueError, match=f"always the same, and {name} is random"):
        check_unchanging(images)


def test_dataset_that_is_random_itself_is_named():
    with pytest.raises(ValueError, match="and what Noise gives is random"):
        check_unchanging(Noise())


def test_transforms_that_are_not_random_pass_and_leave_the_generators_alone():
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

    before = states()
    check_unchanging(subset(transforms.Resize(8), transforms.CenterCrop(4), transforms.ToTensor()))
    check_unchanging(subset())
    assert states() == before

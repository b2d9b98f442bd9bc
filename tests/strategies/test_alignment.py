import copy

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml
from torch import nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrizations

from pml_incremental.models import MLP, GrowingClassifier
from pml_incremental.scenarios import TaskSubset
from pml_incremental.strategies import STRATEGIES, TrainedModel, align_embeddings
from pml_incremental.strategies.alignment import rotated_parts
from pml_incremental.trainers import Teacher

D = 6


class Unit(nn.Module):
    def forward(self, x):
        return 3 * normalize(x)


def model(*after, seed=0, width=D):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), MLP(12, [20, width]), *after)


LABELS = torch.arange(10).repeat(6)


def images(labels=LABELS, noise=0.3):
    generator = torch.Generator().manual_seed(1)
    of_classes = torch.randn(100, 3, 2, 2, generator=generator)
    return of_classes[labels] + noise * torch.randn(len(labels), 3, 2, 2, generator=generator)


def task():
    return [(images(), LABELS)]


def turn():
    return torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(2))).Q


def turned(of, rotation):
    found = copy.deepcopy(of)
    with torch.no_grad():
        found[1][2].weight.copy_(rotation @ of[1][2].weight)
        found[1][2].bias.copy_(rotation @ of[1][2].bias)
    return found


def state(of):
    return copy.deepcopy(of.state_dict())


@pytest.mark.parametrize("after", [(), (Unit(),), (nn.Identity(), nn.Dropout(0.9), Unit())])
def test_a_rotation_is_undone(after):
    teacher = model(*after).eval()
    student = turned(teacher, turn()).train()
    done = align_embeddings(
        student, teacher, zip(images().split(25), LABELS.split(25), strict=True)
    )
    torch.testing.assert_close(done.rotation.float(), turn().T, atol=1e-5, rtol=0)
    torch.testing.assert_close(student.eval()(images()), teacher(images()), atol=1e-5, rtol=1e-5)
    assert done.recall > 0.8 > done.recall_before


@pytest.mark.parametrize("bias", [True, False])
def test_own_similarities_stay_and_the_teacher_comes_nearer(bias):
    teacher, student = model(seed=1), turned(model(seed=1), turn())
    with torch.no_grad():
        student[1][0].weight += torch.randn(20, 12) / 20
    if not bias:
        student[1][2].bias = None
    before, goal = student(images()), teacher(images())
    done = align_embeddings(student, teacher, task())
    after = student(images())
    for measure in (lambda x: normalize(x) @ normalize(x).T, torch.pdist):
        torch.testing.assert_close(measure(after), measure(before), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after, before @ done.rotation.float().T, atol=1e-5, rtol=1e-5)
    cosines = [torch.cosine_similarity(x, goal).mean().item() for x in (before, after)]
    assert cosines[1] > cosines[0]
    for seed in range(20):  # no other rotation comes nearer
        other = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(seed))).Q
        assert torch.cosine_similarity(before @ other.T, goal).mean() <= cosines[1]
    assert align_embeddings(student, teacher, task()).rotation is None  # no better than that


def test_recall_is_that_of_classes_held_out_among_old_embeddings():
    teacher, student = model(seed=1), turned(model(seed=1), turn())
    new, old = (normalize(x(images()).double()) for x in (student, teacher))
    fold = torch.randperm(10, generator=torch.Generator().manual_seed(0))[LABELS] % 5
    hits = {False: [], True: []}
    for i in range(len(LABELS)):
        out = fold == fold[i]
        left, _, right = torch.linalg.svd(old[~out].T @ new[~out])
        others = [j for j in range(len(LABELS)) if out[j] and j != i]
        for rotates in hits:
            query = left @ right @ new[i] if rotates else new[i]
            best = max(others, key=lambda j, query=query: float(query @ old[j]))
            hits[rotates].append(bool(LABELS[best] == LABELS[i]))
    done = align_embeddings(student, teacher, task())
    assert done.recall_before == pytest.approx(np.mean(hits[False]))
    assert done.recall == pytest.approx(np.mean(hits[True]))


@pytest.mark.parametrize(
    ("student", "labels", "has_tried"),
    [
        (model(seed=1), LABELS, True),  # the teacher itself
        (model(seed=5), torch.arange(60), True),  # a class for each image: nothing to find
        (turned(model(seed=1), turn()), LABELS % 3, False),  # too few classes to hold some out
    ],
)
def test_where_a_rotation_does_not_help_held_out_classes_nothing_changes(
    student, labels, has_tried
):
    before = state(student)
    done = align_embeddings(student, model(seed=1), [(images(), labels)])
    assert done.rotation is None
    assert (done.recall is not None) == has_tried
    torch.testing.assert_close(state(student), before, rtol=0, atol=0)


def test_training_modes_and_weights_that_learn_stay():
    teacher = model(nn.Dropout())
    student = turned(teacher, turn())
    student[1][0].requires_grad_(False).eval()
    modes = [module.training for module in student.modules()]
    assert align_embeddings(student, teacher, task()).rotation is not None
    assert [module.training for module in student.modules()] == modes
    assert [p.requires_grad for p in student.parameters()] == [False, False, True, True]


def scaling():
    layer = nn.BatchNorm1d(D)
    nn.init.uniform_(layer.weight)
    return layer


NOT_LAST = "do not rotate with one"


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (
            model(nn.ReLU()),
            rf"of Flatten and MLP and ReLU {NOT_LAST} \(the last called is Linear\(in_features=20,",
        ),
        (model(scaling()), NOT_LAST),
        (model(nn.LayerNorm(D)), NOT_LAST),
        (model(nn.Unflatten(1, (D, 1)), nn.Flatten(), nn.Softplus()), NOT_LAST),
        (nn.Sequential(nn.Conv2d(3, D, 2), nn.Flatten()), rf"{NOT_LAST} \(none is called\)"),
        (
            model(nn.Linear(D, 2 * D), nn.GLU()),
            r"Linear\(in_features=6, out_features=12, .* end with torch.nn.Linear, as MLP",
        ),
        (nn.Sequential(nn.Flatten(), parametrizations.weight_norm(nn.Linear(12, D))), NOT_LAST),
        (
            model(width=D + 1),
            r"have shape \(60, 7\) and the teacher's \(60, 6\): only those of one",
        ),
        (model(nn.Unflatten(1, (2, 3))), r"have shape \(N, d\), .* gave \(60, 2, 3\)"),
    ],
)
def test_other_models_are_refused_and_left_as_they_were(student, message):
    before = state(student)
    with pytest.raises(ValueError, match=message):
        align_embeddings(student, model(), task())
    torch.testing.assert_close(state(student), before, rtol=0, atol=0)


def test_there_must_be_images_and_finite_embeddings():
    with pytest.raises(ValueError, match="of no images were given"):
        align_embeddings(model(), model(), [])
    with pytest.raises(ValueError, match="are not all finite"):
        align_embeddings(model(), model(), [(images() * torch.nan, LABELS)])


HEADS = [
    *(pml.ProxyAnchorLoss, pml.ProxyNCALoss, pml.ArcFaceLoss, pml.CosFaceLoss, pml.SoftTripleLoss),
    *(pml.NormalizedSoftmaxLoss, pml.SubCenterArcFaceLoss, pml.SphereFaceLoss),
]


@pytest.mark.parametrize("classes", [4, D])
@pytest.mark.parametrize("kind", HEADS)
def test_losses_with_weights_of_classes_rotate_too(kind, classes):
    student, labels = model(), LABELS % classes
    loss = kind(num_classes=classes, embedding_size=D)
    before = loss(student(images()), labels), state(loss)
    teacher, losses = turned(student, turn()), [loss, pml.TripletMarginLoss()]
    align_embeddings(student, teacher, task(), losses=losses)
    torch.testing.assert_close(loss(student(images()), labels), before[0], rtol=1e-4, atol=1e-4)
    assert any(not torch.equal(state(loss)[name], before[1][name]) for name in before[1])


@pytest.mark.parametrize("classes", [4, D])
def test_a_classifier_rotates_too_and_says_the_same(classes):
    student, classifier = model(), GrowingClassifier(D, classes)
    before, weight = classifier(student(images())), classifier.weight.detach().clone()
    align_embeddings(student, turned(student, turn()), task(), classifier)
    torch.testing.assert_close(classifier(student(images())), before, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(classifier.weight, weight)


def test_a_memory_of_embeddings_rotates_too():
    student, labels = model(), LABELS
    memory = pml.CrossBatchMemory(pml.ContrastiveLoss(), D, memory_size=80)
    memory(student(images()), labels)
    others = images().flip(-1)
    before = copy.deepcopy(memory)(student(others), labels)
    align_embeddings(student, turned(student, turn()), task(), losses=[memory])
    torch.testing.assert_close(memory(student(others), labels), before)


def test_a_classifier_that_cannot_rotate_is_refused():
    classifier = nn.Sequential(nn.ReLU(), nn.Linear(D, 4))
    student = model()
    before = state(student)
    with pytest.raises(ValueError, match="Sequential does not give the same for rotated emb"):
        align_embeddings(student, turned(student, turn()), task(), classifier)
    torch.testing.assert_close(state(student), before, rtol=0, atol=0)


class Pictures(list):
    def __init__(self):
        super().__init__(zip(images(), LABELS.tolist(), strict=True))
        self.labels = LABELS.numpy()


def test_the_component_aligns_on_the_images_of_the_task_and_reports_it():
    pictures = Pictures()
    subset = TaskSubset(pictures, np.arange(60), pictures.labels, pictures.labels)
    old = model(seed=1)
    student = turned(old, turn())
    (component,) = STRATEGIES["align"]().components
    modules = {"trunk": student[0], "embedder": student[1], "classifier_loss": nn.Linear(D, D)}
    component.check_models(modules, images(LABELS[:1]))
    expected = copy.deepcopy(student)
    done = align_embeddings(expected, old, task())
    trained = TrainedModel(modules, list, lambda b: b[0], lambda b: b[0].sum(), subset)
    component.after_training(trained, Teacher(old[0], old[1]))
    torch.testing.assert_close(state(student), state(expected))
    assert component.report() == {
        "rotated": True,
        "recall_at_1_held_out": done.recall_before,
        "recall_at_1_held_out_rotated": done.recall,
    }


def test_models_are_tried_without_a_change():
    student = model()
    before = state(student)
    (layer, axes), *others = rotated_parts(
        student, images(LABELS[:1]), losses=[pml.TripletMarginLoss()]
    )
    assert layer is student[1][2]
    assert axes == {"weight": 0, "bias": 0}
    assert [axes for _, axes in others] == [{}]
    torch.testing.assert_close(state(student), before, rtol=0, atol=0)

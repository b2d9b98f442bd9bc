import pytest
import torch
from torch.nn import functional as F

from pml_incremental.functional import logit_distillation


def logits(seed, classes, n=5):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, classes, generator=generator, dtype=torch.float64)


def naive(student, teacher, temperature):
    losses = []
    for z, t in zip(student, teacher, strict=True):
        q = [torch.exp(x / temperature) for x in t]
        p = [torch.exp(x / temperature) for x in z[: len(t)]]
        q, p = ([x / sum(raw) for x in raw] for raw in (q, p))
        kl = sum(b * (b.log() - a.log()) for a, b in zip(p, q, strict=True))
        losses.append(temperature**2 * kl)
    return torch.stack(losses)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("classes", [4, 7])
def test_equals_the_formula_in_loops(temperature, classes):
    student, teacher = logits(0, classes), logits(1, 4)
    torch.testing.assert_close(
        logit_distillation(student, teacher, temperature), naive(student, teacher, temperature)
    )


def test_default_temperature_is_that_of_the_paper():
    student, teacher = logits(0, 6), logits(1, 4)
    torch.testing.assert_close(logit_distillation(student, teacher), naive(student, teacher, 2.0))


def test_gradient_is_that_of_the_papers_cross_entropy_times_the_squared_temperature():
    student, teacher = logits(0, 6).requires_grad_(), logits(1, 4)
    logit_distillation(student, teacher, 2.0).sum().backward()
    again = student.detach().clone().requires_grad_()
    targets = (teacher / 2).softmax(dim=1)
    F.cross_entropy(again[:, :4] / 2, targets, reduction="sum").backward()
    torch.testing.assert_close(student.grad, 4 * again.grad)


def test_gradients_of_both_arguments():
    pair = (logits(0, 5, n=3).requires_grad_(), logits(1, 4, n=3).requires_grad_())
    assert torch.autograd.gradcheck(logit_distillation, pair)


def test_new_classes_do_not_count():
    student, teacher = logits(0, 6).requires_grad_(), logits(1, 4)
    logit_distillation(student, teacher).sum().backward()
    assert student.grad[:, 4:].eq(0).all()


def test_teacher_with_more_classes():
    with pytest.raises(ValueError, match="student has logits for 3 classes but the teacher for 4"):
        logit_distillation(torch.zeros(2, 3), torch.zeros(2, 4))


def test_lengths_that_differ():
    with pytest.raises(ValueError, match="student has 2 rows but teacher has 3"):
        logit_distillation(torch.zeros(2, 4), torch.zeros(3, 4))


def test_bad_temperature():
    with pytest.raises(ValueError, match="temperature must be positive"):
        logit_distillation(torch.zeros(2, 4), torch.zeros(2, 4), 0.0)

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_incremental.functional import rectify_similarities


def case(seed, n=8, classes=3):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        torch.rand(n, n, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    labels = torch.randint(classes, (n,), generator=generator)
    return student, teacher, labels


def naive(student, teacher, labels):
    n = len(labels)
    rectified = teacher.clone()
    for i in range(n):
        positives = [j for j in range(n) if j != i and labels[j] == labels[i]]
        negatives = [j for j in range(n) if labels[j] != labels[i]]
        if not positives or not negatives:
            continue
        hardest_negative = max(teacher[i, j] for j in negatives)
        hardest_positive = min(teacher[i, j] for j in positives)
        for j in positives:
            if teacher[i, j] < hardest_negative:
                rectified[i, j] = max(hardest_negative, student[i, j])
        for j in negatives:
            if teacher[i, j] > hardest_positive:
                rectified[i, j] = min(hardest_positive, student[i, j])
    return rectified


@given(seed=st.integers(0, 10_000), n=st.integers(1, 9), classes=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_equals_the_formula_in_loops(seed, n, classes):
    student, teacher, labels = case(seed, n, classes)
    rectified = rectify_similarities(student, teacher, labels)
    assert torch.equal(rectified, naive(student, teacher, labels))
    assert not rectify_similarities(student.requires_grad_(), teacher, labels).requires_grad


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_no_negative_above_a_positive_afterwards(seed):
    student, teacher, labels = case(seed)
    rectified = rectify_similarities(student, teacher, labels)
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    hardest_negative = rectified.masked_fill(same, -1).amax(dim=1)
    diagonal = torch.eye(len(labels), dtype=torch.bool)
    hardest_positive = rectified.masked_fill(~same | diagonal, 2).amin(dim=1)
    assert (hardest_positive >= hardest_negative).all()


def test_teacher_that_agrees_with_the_labels_is_left_alone():
    _, _, labels = case(0)
    same = (labels.unsqueeze(0) == labels.unsqueeze(1)).double()
    teacher = same + 0.5 * torch.rand(8, 8).double()
    assert torch.equal(rectify_similarities(torch.rand(8, 8).double(), teacher, labels), teacher)


def test_a_student_beyond_the_boundary_is_its_own_target():
    labels = torch.tensor([0, 0, 1, 1])
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    student = torch.where(same, 0.9, -0.9).double()
    teacher = torch.where(same, 0.1, 0.5).double().fill_diagonal_(1.0)
    rectified = rectify_similarities(student, teacher, labels)
    off_diagonal = ~torch.eye(4, dtype=torch.bool)
    assert torch.equal(rectified[off_diagonal], student[off_diagonal])
    assert rectified.diagonal().eq(1).all()


def test_without_positives_or_negatives_nothing_is_corrected():
    for labels in (torch.zeros(4), torch.arange(4)):
        teacher = torch.rand(4, 4)
        assert torch.equal(rectify_similarities(torch.rand(4, 4), teacher, labels), teacher)


@pytest.mark.parametrize(
    ("student", "teacher", "labels"),
    [((3, 3), (4, 4), (4,)), ((4, 4), (4, 3), (4,)), ((4, 4), (4, 4), (4, 1))],
)
def test_shapes_that_do_not_fit(student, teacher, labels):
    with pytest.raises(ValueError, match=r"must have shape \(N, N\) for N labels"):
        rectify_similarities(torch.zeros(student), torch.zeros(teacher), torch.zeros(labels))

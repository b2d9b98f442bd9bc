import torch
from torch import nn

from pml_incremental.trainers import Teacher


def models():
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    return {"trunk": trunk, "embedder": nn.Linear(8, 4)}


def test_snapshot_does_not_follow_the_student():
    student = models()
    teacher = Teacher.snapshot(student)
    images = torch.randn(5, 1, 4, 4)
    before = teacher.embed(images)
    with torch.no_grad():
        for model in student.values():
            for parameter in model.parameters():
                parameter.add_(1)
    torch.testing.assert_close(teacher.embed(images), before)


def test_snapshot_leaves_the_student_trainable():
    student = models()
    Teacher.snapshot(student)
    assert all(p.requires_grad for model in student.values() for p in model.parameters())
    assert student["trunk"].training


def test_teacher_is_in_eval_mode_and_gives_no_gradient():
    teacher = Teacher.snapshot(models())
    images = torch.randn(5, 1, 4, 4, requires_grad=True)
    embeddings = teacher.embed(images)
    assert not embeddings.requires_grad
    torch.testing.assert_close(teacher.embed(images), embeddings)
    assert not teacher.trunk.training
    assert not any(p.requires_grad for p in teacher.trunk.parameters())


def test_embedder_is_optional():
    trunk = nn.Flatten()
    images = torch.randn(5, 1, 4, 4)
    torch.testing.assert_close(Teacher(trunk).embed(images), images.flatten(1))
    torch.testing.assert_close(Teacher.snapshot({"trunk": trunk}).embed(images), images.flatten(1))


def test_teacher_embeds_before_the_student_does(build):
    trainer, order = build(), []
    trainer.teacher.trunk.register_forward_hook(lambda *_: order.append("teacher"))
    trainer.models["trunk"].register_forward_hook(lambda *_: order.append("student"))
    trainer.train(num_epochs=1)
    # Beside the student's activations the teacher's would need memory anew, each time.
    assert order[:4] == ["teacher", "student"] * 2

import pytest
import torch

from pml_incremental.functional import estimate_features

LOW, HIGH = torch.tensor([-0.2, 0.0, 0.1]), torch.tensor([-0.1, 0.5, 0.1])


def features(n=6, width=4, dtype=torch.float64):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(0), dtype=dtype)


def seeded():
    return torch.Generator().manual_seed(1)


def test_equals_a_loop_over_models_images_and_dimensions():
    teacher = features()
    draws = torch.rand(3, 6, 4, dtype=torch.float64, generator=seeded())
    estimates = estimate_features(teacher, LOW, HIGH, scale=2.0, generator=seeded())
    for k in range(3):
        for i in range(6):
            for j in range(4):
                change = LOW[k].item() + (HIGH[k] - LOW[k]).item() * draws[k, i, j].item()
                expected = teacher[i, j].item() * (1 + 2 * change)
                assert estimates[k, i, j].item() == pytest.approx(expected, rel=1e-6)


def test_a_pair_of_numbers_gives_one_estimate():
    estimate = estimate_features(features(), -0.1, 0.2, generator=seeded())
    one = torch.tensor([-0.1]), torch.tensor([0.2])
    models = estimate_features(features(), *one, generator=seeded())
    assert estimate.shape == (6, 4)
    torch.testing.assert_close(models[0], estimate, rtol=1e-6, atol=0)


def test_a_number_serves_for_all_models():
    estimates = estimate_features(features(), -0.3, HIGH)
    ratio = estimates / features()
    assert estimates.shape == (3, 6, 4)
    assert ratio.min() >= 0.7 - 1e-6
    assert ratio[0].max() <= 0.9 + 1e-6


def test_changes_are_uniform_within_the_range():
    teacher = torch.full((400, 500), -3.0, dtype=torch.float64)
    change = estimate_features(teacher, -0.0442811, 0.2230079, generator=seeded()) / teacher - 1
    assert change.min() >= -0.0442811
    assert change.max() <= 0.2230079
    unit = (change + 0.0442811) / (0.2230079 + 0.0442811)
    # 200,000 draws: six standard errors of the first two moments and of the share of each tenth.
    assert unit.mean().item() == pytest.approx(1 / 2, abs=6 * (1 / 12 / 2e5) ** 0.5)
    assert unit.var().item() == pytest.approx(1 / 12, abs=6 * (1 / 180 / 2e5) ** 0.5)
    shares = torch.histc(unit, bins=10, min=0, max=1) / unit.numel()
    assert (shares - 0.1).abs().max() < 6 * (0.09 / 2e5) ** 0.5


def test_elements_and_models_are_drawn_independently():
    ranges = torch.zeros(2), torch.ones(2)
    change = estimate_features(torch.ones(100, 200), *ranges, generator=seeded())
    pairs = [*change], [change[:, 0], change[:, 1]], [change[..., 0], change[..., 1]]
    for first, second in pairs:
        together = torch.stack([first.flatten(), second.flatten()])
        assert torch.corrcoef(together)[0, 1].abs() < 6 / first.numel() ** 0.5


@pytest.mark.parametrize(
    ("low", "high", "scale", "factor"),
    [(0.0, 0.0, 1.0, 1), (-0.5, 0.5, 0.0, 1), (0.25, 0.25, 1.0, 1.25)],
)
def test_no_random_change(low, high, scale, factor):
    assert torch.equal(estimate_features(features(), low, high, scale), factor * features())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    teacher = features(dtype=torch.float32).to(dtype)
    estimate = estimate_features(teacher, LOW, HIGH, generator=seeded())
    assert estimate.dtype == torch.float32
    expected = estimate_features(teacher.float(), LOW, HIGH, generator=seeded())
    assert torch.equal(estimate, expected)


def test_gradients_flow_to_the_teacher():
    teacher = features().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: estimate_features(t, LOW, HIGH, generator=seeded()), (teacher,)
    )


def test_generator_decides_alone():
    torch.manual_seed(0)
    first = estimate_features(features(), LOW, HIGH, generator=seeded())
    state = torch.random.get_rng_state()
    assert torch.equal(estimate_features(features(), LOW, HIGH, generator=seeded()), first)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (0.2, 0.1, "low is above high in the range: 0.2 > 0.1"),
        (torch.tensor([0.0, 0.5]), 0.25, "low is above high in the range of prior model M_2"),
        (float("nan"), 0.1, "the range must be finite"),
        (LOW, torch.tensor([1.0, 1.0, float("inf")]), "range of prior model M_3 must be finite"),
        (LOW.unsqueeze(1), 1.0, r"low must be a number or hold one .* \(3, 1\)"),
    ],
)
def test_bad_ranges(low, high, message):
    with pytest.raises(ValueError, match=message):
        estimate_features(features(), low, high)


def test_bad_features():
    with pytest.raises(ValueError, match=r"teacher must have shape \(N, d\)"):
        estimate_features(torch.zeros(3), 0.0, 0.1)
    with pytest.raises(TypeError, match="teacher must be of a floating-point dtype"):
        estimate_features(torch.zeros(3, 2, dtype=torch.long), 0.0, 0.1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda():
    teacher = torch.ones(300, 400, device="cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    change = estimate_features(teacher, LOW, HIGH, generator=generator) - 1
    assert change.device.type == "cuda"
    torch.testing.assert_close(change.mean(dim=(1, 2)).cpu(), (LOW + HIGH) / 2, atol=0.01, rtol=0)

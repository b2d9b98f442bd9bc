"""What every probe keeps to."""

import pytest
import torch

from pml_incremental.probes import PROBES

DRAWN = ("strokes", "blobs", "dead_leaves")


def images(count=6, channels=3, height=16, width=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, channels, height, width, generator=generator).to(dtype)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", PROBES)
class TestEach:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize(("channels", "height", "width"), [(1, 16, 16), (5, 12, 20), (3, 9, 7)])
    def test_keeps_shape_and_dtype(self, name, dtype, channels, height, width):
        batch = images(4, channels, height, width, dtype)
        made = PROBES[name](batch, seeded())
        assert (made.shape, made.dtype) == (batch.shape, dtype)
        assert made.isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_rounds_what_float32_makes(self, name, dtype):
        half = images(dtype=dtype)
        made, wide = PROBES[name](half, seeded()), PROBES[name](half.float(), seeded())
        assert torch.equal(made, wide.to(dtype))

    @pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 2)])
    def test_takes_one_image_of_any_size(self, name, size):
        made = PROBES[name](images(1, 2, *size), seeded())
        assert made.shape == (1, 2, *size)
        assert made.isfinite().all()

    def test_leaves_the_batch_and_other_generators_as_they_were(self, name):
        batch, before = images(), torch.get_rng_state()
        made = PROBES[name](batch, seeded())
        assert torch.equal(batch, images())
        assert made.data_ptr() != batch.data_ptr()
        assert torch.equal(before, torch.get_rng_state())

    def test_is_decided_by_the_generator(self, name):
        first, again, other = (PROBES[name](images(), seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert len({image.sum().item() for image in first}) == len(first)

    @pytest.mark.parametrize("offset", [0.0, -50.0, 50.0])
    def test_stays_within_the_range_of_each_channel(self, name, offset):
        batch = images() * torch.tensor([1.0, 10, 100]).view(1, 3, 1, 1) + offset
        made = PROBES[name](batch, seeded())
        low, high = batch.amin((0, 2, 3)), batch.amax((0, 2, 3))
        assert (made.amin((0, 2, 3)) >= low - 1e-4).all()
        assert (made.amax((0, 2, 3)) <= high + 1e-4).all()

    def test_draws_alike_whatever_the_default_dtype(self, name):
        batch = images()
        made = PROBES[name](batch, seeded())
        torch.set_default_dtype(torch.float64)
        try:
            again = PROBES[name](batch, seeded())
        finally:
            torch.set_default_dtype(torch.float32)
        torch.testing.assert_close(made, again, atol=1e-4, rtol=1e-4)

    @pytest.mark.cuda
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    def test_makes_the_same_on_a_gpu(self, name):
        made = PROBES[name](images().cuda(), seeded())
        assert made.is_cuda
        differs = (made.cpu() - PROBES[name](images(), seeded())).abs() > 1e-4
        assert differs.float().mean() < 0.01  # pixels at an edge may fall on its other side

    @pytest.mark.parametrize(
        ("batch", "error", "message"),
        [
            (torch.zeros(3, 8, 8), ValueError, r"must have shape \(N, C, H, W\).*got \(3, 8, 8\)"),
            (torch.zeros(0, 3, 8, 8), ValueError, r"none of them 0, got \(0, 3, 8, 8\)"),
            (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), TypeError, "floating-point.*torch.uint8"),
            ([1, 2], TypeError, "must be a tensor, got list"),
        ],
    )
    def test_says_what_is_wrong_with_images(self, name, batch, error, message):
        with pytest.raises(error, match=f"images of {name} .*{message}"):
            PROBES[name](batch, seeded())


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_shows_nothing_of_the_batch_but_its_values(name):
    batch = images()
    first, second = (PROBES[name](b, seeded()) for b in (batch, batch.flip(-1)))
    torch.testing.assert_close(first, second)
    made = PROBES[name](torch.full((2, 1, 6, 6), -3.0), seeded())
    assert (made == -3).all()

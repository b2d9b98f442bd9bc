"""What every probe keeps to."""

import pytest
import torch

from pml_incremental.probes import PROBES, build_probe

DRAWN = ("strokes", "blobs", "dead_leaves")


def images(count=6, channels=3, height=16, width=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, channels, height, width, generator=generator).to(dtype)


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", PROBES)
class TestEach:
    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
    def test_keeps_the_dtype(self, name, dtype):
        assert PROBES[name](images(dtype=dtype), seeded()).dtype == dtype

    @pytest.mark.parametrize(("channels", "height", "width"), [(1, 16, 16), (5, 12, 20), (3, 9, 7)])
    def test_keeps_the_shape(self, name, channels, height, width):
        batch = images(4, channels, height, width)
        assert PROBES[name](batch, seeded()).shape == batch.shape

    def test_takes_one_image(self, name):
        assert PROBES[name](images(1), seeded()).shape == (1, 3, 16, 16)

    def test_leaves_the_batch_as_it_was(self, name):
        batch = images()
        PROBES[name](batch, seeded())
        assert torch.equal(batch, images())

    def test_is_decided_by_the_generator(self, name):
        first, again, other = (PROBES[name](images(), seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_draws_from_no_other_generator(self, name):
        before = torch.get_rng_state()
        PROBES[name](images(), seeded())
        assert torch.equal(before, torch.get_rng_state())

    def test_stays_within_the_range_of_each_channel(self, name):
        batch = images() * torch.tensor([1.0, 10, 100]).view(1, 3, 1, 1)
        made = PROBES[name](batch, seeded())
        low, high = batch.amin((0, 2, 3)), batch.amax((0, 2, 3))
        assert bool((made.amin((0, 2, 3)) >= low - 1e-4).all())
        assert bool((made.amax((0, 2, 3)) <= high + 1e-4).all())

    def test_makes_images_that_differ(self, name):
        made = PROBES[name](images(), seeded())
        assert len({image.sum().item() for image in made}) == len(made)


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_shows_nothing_of_the_batch(name):
    batch = images()
    turned = batch.flip(-1)
    assert torch.equal(PROBES[name](batch, seeded()), PROBES[name](turned, seeded()))


def test_strokes_are_light_on_dark_and_dark_on_light():
    dark = torch.zeros(4, 1, 32, 32)
    dark[:, :, 8:12] = 1
    drawn = [PROBES["strokes"](batch, seeded()) for batch in (dark, 1 - dark)]
    assert (drawn[0] == 0).float().mean() > 0.1
    torch.testing.assert_close(drawn[0], 1 - drawn[1])


def test_every_image_has_its_share_of_probes():
    made = build_probe(["warp", lambda x, g: x * 0, lambda x, g: x * 0 + 9])(images(6), seeded())
    assert (made == 0).all(dim=(1, 2, 3)).sum() == 2
    assert (made == 9).all(dim=(1, 2, 3)).sum() == 2


def test_fewer_images_than_probes_are_shared_at_random():
    probe = build_probe([lambda x, g: x * 0, lambda x, g: x * 0 + 1])
    assert {probe(images(1), seeded(seed)).mean().item() for seed in range(20)} == {0.0, 1.0}


def test_a_list_within_a_list_acts_one_after_another():
    chain = build_probe([[lambda x, g: x * 0 + 2, lambda x, g: x * 3]])
    assert (chain(images(), seeded()) == 6).all()


def twice(batch, generator, times=2):
    """A probe of one's own."""
    return batch * times


def test_a_probe_of_ones_own_has_options():
    path = f"{__name__}:twice"
    torch.testing.assert_close(build_probe(path)(images(), seeded()), images() * 2)
    torch.testing.assert_close(build_probe({path: {"times": 3}})(images(), seeded()), images() * 3)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("wrap", ValueError, "there is no probe 'wrap'; did you mean 'warp'"),
        ("nonsense", ValueError, "known: blobs, cut_and_mix"),
        ("no_such_module:probe", ValueError, "cannot find the probe 'no_such_module:probe'"),
        ({"warp": {"degree": 9}}, TypeError, "warp has no option 'degree'; it has: degrees"),
        ({"warp": {"degrees": -9}}, ValueError, "degrees of warp must be at least 0, got -9"),
        ({"warp": {"scale": [0, 1]}}, ValueError, "scale of warp must be the smallest"),
        ({"dead_leaves": {"leaves": 0}}, ValueError, "leaves of dead_leaves must be at least 1"),
        ([], ValueError, "a list of probes is empty"),
        (3, TypeError, "a probe is a name or"),
        (lambda x, g: x[:1], ValueError, r"made \(1, 3, 8, 8\) of images of shape \(2, 3, 8, 8\)"),
    ],
)
def test_what_cannot_be_built_is_said(spec, error, message):
    with pytest.raises(error, match=message):
        build_probe(spec)

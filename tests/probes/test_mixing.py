"""Two images, one on each side of a line, or their weighted mean."""

import pytest
import torch
from scipy.optimize import linprog
from scipy.stats import beta, kstest

from pml_incremental.probes import cut_and_mix, mixup
from pml_incremental.probes.mixing import _beta


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, height=15, width=21):
    """Images of one value each: their number."""
    return torch.arange(float(count)).view(-1, 1, 1, 1).expand(count, 2, height, width)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_each_image_meets_another_and_each_serves_once(count):
    made = cut_and_mix(numbered(count), seeded())
    partners = []
    for number, image in enumerate(made):
        values = image.unique().tolist()
        assert number in values
        assert len(values) == 2
        partners += [value for value in values if value != number]
    assert sorted(partners) == list(range(count))


def test_every_pixel_comes_from_its_own_place():
    batch = torch.rand(6, 3, 8, 10, generator=seeded())
    made = cut_and_mix(batch, seeded(1))
    assert (made.unsqueeze(1) == batch).all(dim=2).any(dim=1).all()


@pytest.mark.parametrize("probe", [cut_and_mix, mixup])
def test_one_image_stays_as_it_is(probe):
    image = torch.rand(1, 3, 4, 5)
    torch.testing.assert_close(probe(image, seeded()), image)


def test_a_line_parts_what_stays_from_what_does_not():
    stays = cut_and_mix(numbered(64), seeded())[:, 0] == torch.arange(64.0).view(-1, 1, 1)
    y, x = torch.meshgrid(torch.arange(15.0), torch.arange(21.0), indexing="ij")
    places = torch.stack([x - 10, y - 7, torch.ones_like(x)], dim=-1).view(-1, 3)
    for side in stays.flatten(1):
        signs = torch.where(side, -1.0, 1.0).view(-1, 1)
        inequalities = {"A_ub": (signs * places).numpy(), "b_ub": [-1e-4] * len(places)}
        assert linprog([0, 0, 0], **inequalities, bounds=(None, None)).success


def test_half_stays_on_average_and_no_image_stays_whole():
    stays = cut_and_mix(numbered(500), seeded())[:, 0] == torch.arange(500.0).view(-1, 1, 1)
    shares = stays.float().mean(dim=(1, 2))
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert 0.1 < shares.min() < 0.3
    assert 0.7 < shares.max() < 0.9
    # All directions: every place of the border stays as often.
    assert (stays.float().mean(dim=0) - 0.5).abs().max() < 0.1


def test_is_a_mean_of_an_image_and_another_which_serves_once():
    images = torch.eye(7).view(7, 7, 1, 1)  # a channel of its own for each image
    shares = mixup(images, seeded()).view(7, 7)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(7))
    assert ((shares > 0).sum(dim=1) == 2).all()
    assert ((shares > 0).sum(dim=0) == 2).all()
    assert (shares.diagonal() > 0).all()


def test_one_share_for_all_pixels_of_an_image():
    low, high = torch.zeros(1, 3, 4, 5), torch.ones(1, 3, 4, 5)
    made = mixup(torch.cat([low, high]), seeded()).flatten(1)
    assert (made == made[:, :1]).all()


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0, 50.0])
def test_shares_are_distributed_as_beta(alpha):
    shares = _beta(alpha, 4000, seeded()).numpy()
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 0.01
    for extreme in (1e-6, 1e-3, 1e6):
        shares = _beta(extreme, 1000, seeded())
        assert ((shares >= 0) & (shares <= 1)).all()
        assert shares.mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("alpha", "error", "message"),
    [
        (0, ValueError, "alpha of mixup must be finite and above 0, got 0"),
        (-1.0, ValueError, "above 0, got -1.0"),
        (float("nan"), ValueError, "above 0, got nan"),
        ("1", TypeError, "alpha of mixup must be a number, got '1'"),
    ],
)
def test_bad_alphas_are_said(alpha, error, message):
    with pytest.raises(error, match=message):
        mixup(torch.zeros(2, 1, 2, 2), seeded(), alpha=alpha)

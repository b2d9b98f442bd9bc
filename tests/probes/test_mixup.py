"""Weighted means of two images."""

import pytest
import torch
from scipy.stats import beta, kstest

from pml_incremental.probes import mixup
from pml_incremental.probes.mixing import _beta


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


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


def test_one_image_stays_as_it_is():
    image = torch.rand(1, 3, 4, 5)
    torch.testing.assert_close(mixup(image, seeded()), image)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0, 3.0, 50.0])
def test_shares_are_distributed_as_beta(alpha):
    shares = _beta(alpha, 4000, seeded()).numpy()
    assert kstest(shares, beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e6])
def test_extreme_alphas_give_shares_too(alpha):
    shares = _beta(alpha, 1000, seeded())
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

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import ToTensor

from pml_incremental.transforms import CaffeNormalize


def test_equals_the_plain_formula():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    image = CaffeNormalize(mean=[104, 117, 128])(ToTensor()(Image.fromarray(pixels)))
    assert image.shape == (3, 5, 4)
    for channel, mean in enumerate((104, 117, 128)):
        expected = pixels[..., 2 - channel].astype(np.float32) - mean
        np.testing.assert_allclose(image[channel].numpy(), expected, atol=1e-4)


def test_batches_and_the_input_is_left_alone():
    images = torch.rand(2, 3, 4, 4)
    before = images.clone()
    normalize = pickle.loads(pickle.dumps(CaffeNormalize()))
    torch.testing.assert_close(normalize(images)[1], normalize(images[1]))
    torch.testing.assert_close(images, before)


def test_what_did_not_go_through_to_tensor_or_has_other_channels_is_refused():
    for image in (Image.new("RGB", (4, 4)), torch.zeros(3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(TypeError, match="put ToTensor before it"):
            CaffeNormalize()(image)
    for shape in ((1, 4, 4), (3, 4), (4, 4, 3)):
        with pytest.raises(ValueError, match="takes 3 channels"):
            CaffeNormalize()(torch.zeros(shape))
    with pytest.raises(ValueError, match="must be three numbers"):
        CaffeNormalize(mean=[104])

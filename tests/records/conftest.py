import pytest
from PIL import Image


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "picture.png"
    Image.new("RGB", (6, 4), (255, 0, 0)).save(file)
    return file

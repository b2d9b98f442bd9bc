"""The README as a package index shows it."""

import re
from pathlib import Path

import pytest

pytest.importorskip("hatchling")

from package_links import PackageLinks, absolute_links

ROOT = Path(__file__).parents[2]
URL = "https://example.org/us/it"


def test_every_relative_link_is_of_a_file_and_becomes_an_address():
    text = (ROOT / "README.md").read_text()
    found = re.findall(rf"\({URL}/(?:blob|raw)/main/([^)#]+)[^)]*\)", absolute_links(text, URL))
    assert len(found) > 20
    assert all((ROOT / path).is_file() for path in found)
    assert not re.search(r"\]\((?!https?://|#)", absolute_links(text, URL))


def test_pictures_are_raw_and_other_addresses_stay():
    text = "[a](b.md#c) ![d](e.png) [f](https://g.h) [i](#j)"
    links = f"[a]({URL}/blob/main/b.md#c) ![d]({URL}/raw/main/e.png) [f](https://g.h) [i](#j)"
    assert absolute_links(text, URL) == links


@pytest.mark.parametrize("url", ["", URL + "/"])
def test_there_are_links_where_the_place_is_known(url, monkeypatch):
    monkeypatch.setenv("PROJECT_URL", url)
    metadata = {}
    PackageLinks(str(ROOT), {}).update(metadata)
    assert ("urls" in metadata) == bool(url)
    assert (f"({URL}/blob/main/docs/" in metadata["readme"]["text"]) == bool(url)

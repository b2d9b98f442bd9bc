from pathlib import Path

import pytest

from pml_incremental.config import (
    ConfigError,
    find_config,
    first_sentence,
    load_config,
    shipped_configs,
    validate,
)

CONFIGS = Path(__file__).parents[2] / "configs"
# Those that are laid over another, with the other.
LAYERS = {"bn_inception": "cub_sequential", "emoji_pair_classifier": "emoji_pair"}
LAYERS |= {"estimators": "glyphs_sequential"}
# Those in losses/ have a test of their own.
NAMES = [name for name in shipped_configs() if not name.startswith("losses/")]


@pytest.mark.parametrize("name", NAMES)
def test_config_is_valid(name):
    files = [find_config(part) for part in (LAYERS.get(name), name) if part]
    config = load_config(files)
    validate(config)
    if "name:" in files[-1].read_text():
        assert config.name == name


def test_every_file_for_our_own_runner_is_shipped():
    files = [file for file in CONFIGS.rglob("*.yaml") if "powerful_benchmarker" not in file.parts]
    assert sorted(files) == sorted(shipped_configs().values())


@pytest.mark.parametrize("name", shipped_configs())
def test_every_config_says_what_it_is(name):
    assert len(first_sentence(shipped_configs()[name])) > 20


def test_paths_are_taken_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("mine.yaml") == Path("mine.yaml")
    Path("glyphs.yaml").touch()
    assert find_config("glyphs.yaml") == Path("glyphs.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("glyph", "did you mean 'glyphs'"),
        ("mine", "write one of them"),
        ("configs/losses/rkd.yaml", "there is no such file; 'losses/rkd' comes with the package"),
        ("glyphs.yml", "'glyphs' comes with the package"),
        ("configs/glyfs.yaml", "did you mean 'glyphs', which comes with the package?"),
    ],
)
def test_what_is_not_there_is_said(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        find_config(text)


def test_a_file_at_hand_is_nearer_than_what_comes_with_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("glyphs2.yaml").touch()
    assert find_config("glyfs.yaml") == Path("glyfs.yaml")  # whose reading suggests it

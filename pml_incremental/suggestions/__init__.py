"""A first config for a folder of images, from what is in it."""

from pml_incremental.suggestions.choices import FewClassesError
from pml_incremental.suggestions.first_config import first_config
from pml_incremental.suggestions.survey import ClassCount, Survey, survey_folder

__all__ = ["ClassCount", "FewClassesError", "Survey", "first_config", "survey_folder"]

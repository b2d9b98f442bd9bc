"""The docstrings' markup as Markdown, for the reference: formulas, names of classes, examples."""

import re
from typing import Any

from griffe import Extension, Object
from latex2mathml.converter import convert

FORMULA = re.compile(r"^\.\. math:: (.+(?:\n[ ].+)*)", re.MULTILINE)
INLINE_FORMULA = re.compile(r":math:`([^`]+)`")
ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
# Words in formulas, and a function that the converter does not know.
WORD = re.compile(r"(?<![\\A-Za-z])(softmax|KL|BWT|FWT|low|high|mean)(?![A-Za-z])|\\(arg)(?=\\)")
CODE = re.compile(r"(``.+?``|`.+?`|<(?:div|span)>.*?</(?:div|span)>)", re.DOTALL)


class MarkdownDocstrings(Extension):
    """Changes the docstring of every object as it is loaded."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """A docstring as Markdown with Google's sections."""
    prose, heading, example = text.partition("\nExample:\n")
    prose = FORMULA.sub(lambda found: f"<div>{mathml(found[1], 'block')}</div>", prose)
    prose = INLINE_FORMULA.sub(lambda found: f"<span>{mathml(found[1], 'inline')}</span>", prose)
    prose = ROLE.sub(r"`\1`", prose)
    parts = CODE.split(prose)
    parts[::2] = [part.replace("<", "&lt;").replace("[", "\\[") for part in parts[::2]]
    return "".join(parts) + heading.replace("Example", "Examples") + example


def mathml(latex: str, display: str) -> str:
    """A formula that browsers show without a script."""
    upright = WORD.sub(r"\\mathrm{\1\2}", " ".join(latex.split()))
    return convert(upright, display=display)

"""A hook of hatchling: project links, and a README whose links work on a package index.

Where the project lives is in ``PROJECT_URL``, such as https://github.com/someone/pml-incremental;
without it the README stays as it is and there are no links.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r"(!?)(\[[^][]*\])\((?!https?://|#)([^)\s]+)\)")


def absolute_links(text: str, url: str) -> str:
    """A README in which links to files of the repository are addresses, those of pictures raw."""

    def address(match: re.Match[str]) -> str:
        mark, name, path = match.groups()
        return f"{mark}{name}({url}/{'raw' if mark else 'blob'}/main/{path})"

    return _RELATIVE.sub(address, text)


class PackageLinks(MetadataHookInterface):
    """Called by hatchling, for sdist and wheel."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        if url := os.environ.get("PROJECT_URL", "").rstrip("/"):
            text = absolute_links(text, url)
            metadata["urls"] = {
                "Homepage": url,
                "Documentation": f"{url}/blob/main/docs/index.md",
                "Changelog": f"{url}/blob/main/CHANGELOG.md",
                "Issues": f"{url}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}

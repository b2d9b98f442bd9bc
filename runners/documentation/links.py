"""Links from pages to files beside docs/, which work in the repository, work on the site too.

Such a file is added to the site as ``repository/<path>``, and links to it are changed accordingly.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")
OUTSIDE = "repository/"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to, and what that links to."""
    root = Path(config.config_file_path).parent
    pages = [file.src_uri for file in files.documentation_pages()]
    while pages:
        page = pages.pop()
        for _, link in LINK.findall((root / place_in_repository(page)).read_text(encoding="utf-8")):
            target = place_on_site(posixpath.normpath(posixpath.join(folder_of(page), link)))
            if target.startswith(OUTSIDE) and target not in files.src_uris:
                source = root / place_in_repository(target)
                if source.is_file():
                    files.append(File.generated(config, target, abs_src_path=str(source)))
                    pages += [target] if target.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Change the links of a page."""
    here = posixpath.dirname(page.file.src_uri)

    def change(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder_of(page.file.src_uri), found[2]))
        return found[1] + posixpath.relpath(place_on_site(path), here or ".")

    return LINK.sub(change, markdown)


def place_in_repository(site_uri: str) -> str:
    """Where a file of the site lies in the repository."""
    outside = site_uri.startswith(OUTSIDE)
    return site_uri.removeprefix(OUTSIDE) if outside else f"docs/{site_uri}"


def place_on_site(path: str) -> str:
    """Where a file of the repository lies on the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else OUTSIDE + path


def folder_of(site_uri: str) -> str:
    """The folder, in the repository, that links of a page start from."""
    return posixpath.dirname(place_in_repository(site_uri))

"""mkdocs: links that lead out of docs/ lead to pages made of those files, so that the site is whole by itself."""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sql": "sql"}
MADE = "source"  # where these pages lie


def on_files(files: Files, config: Any) -> Files:
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    wanted = [
        place
        for page in list(files.documentation_pages())
        for link in LINK.findall(page.content_string)
        if not (place := (docs / page.src_uri).parent.joinpath(link).resolve()).is_relative_to(docs)
    ]
    made: set[Path] = set()
    while wanted:
        place = wanted.pop()
        if place in made or not place.is_relative_to(root):
            continue
        made.add(place)
        text = _page(place, root)
        wanted += [
            inner
            for link in LINK.findall(text if place.suffix == ".md" or place.is_dir() else "")
            if not (inner := _from(place).joinpath(link).resolve()).is_relative_to(docs)
        ]
        files.append(
            File.generated(config, _uri(place, root), content=_linked(text, place, root, docs, _uri(place, root)))
        )
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    if page.file.src_uri.startswith(f"{MADE}/"):
        return markdown
    root, docs = Path(config.config_file_path).parent, Path(config.docs_dir)
    return _linked(markdown, docs / page.file.src_uri, root, docs, page.file.src_uri)


def _page(place: Path, root: Path) -> str:
    if place.is_dir():
        return f"# {place.relative_to(root)}/\n" + "\n".join(
            f"- [{one.name}]({one.name})" for one in sorted(place.iterdir())
        )
    text = place.read_text(encoding="utf-8")
    if place.suffix == ".md":
        return text
    return f"# {place.relative_to(root)}\n````{LANGUAGES.get(place.suffix, 'text')}\n{text}\n````\n"


def _from(place: Path) -> Path:
    """What relative links of the file start from."""
    return place if place.is_dir() else place.parent


def _uri(place: Path, root: Path) -> str:
    name = str(place.relative_to(root))
    return f"{MADE}/{name}" if place.suffix == ".md" else f"{MADE}/{name}.md"


def _linked(text: str, place: Path, root: Path, docs: Path, uri: str) -> str:
    """The text as it stands on the page `uri`."""

    def moved(link: re.Match[str]) -> str:
        to = _from(place).joinpath(link[0]).resolve()
        if not to.is_relative_to(root):
            return link[0]
        lies = str(to.relative_to(docs)) if to.is_relative_to(docs) else _uri(to, root)
        return os.path.relpath(lies, os.path.dirname(uri) or ".")

    return LINK.sub(moved, text)

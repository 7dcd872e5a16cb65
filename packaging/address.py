"""Writes the address of the repository and its authors everywhere they belong. Run once, by their owner:

    python packaging/address.py https://github.com/OWNER/genn_eventprop --author "NAME" --email NAME@EXAMPLE.ORG

* pyproject.toml: `authors` and `[project.urls]`, from which the package index and `pip show` have them;
* README.md: the line that gets the code, and links and pictures, which on the package index must be absolute;
* CITATION.cff: `repository-code` and the author; CODE_OF_CONDUCT.md and SECURITY.md: the address to write to.

What a file has nothing to be replaced by is an error, and then no file is written.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTORS = "the genn_eventprop contributors"


def replaced(text: str, old: str, new: str, where: str) -> str:
    """With `old`, which must be there.

    Raises:
        SystemExit: it is not.
    """
    if old not in text:
        raise SystemExit(f"{where}: nothing was written, since {old!r} is not there; was the address filled in before?")
    return text.replace(old, new)


def filled(root: Path, url: str, author: str, email: str) -> dict[Path, str]:
    """The new text of every file."""
    url = url.rstrip("/").removesuffix(".git")
    readme = replaced(
        (root / "README.md").read_text(),
        "`git clone ADDRESS genn_eventprop`, where ADDRESS is\n"
        "that of this repository (there is no public one yet), or",
        f"`git clone {url}`, or",
        "README.md",
    )
    raw = url.replace("//github.com/", "//raw.githubusercontent.com/") + "/main/"
    readme = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:|#)", rf"\g<1>{raw}", readme)
    readme = re.sub(r"(?<!!)(\[[^\]]*\]\()(?![a-z]+:|#)", rf"\g<1>{url}/blob/main/", readme)
    urls = f"""[project.urls]
Repository = "{url}"
Issues = "{url}/issues"
Changelog = "{url}/blob/main/CHANGELOG.md"
"""
    project = (root / "pyproject.toml").read_text()
    project = replaced(
        project, f'{{ name = "{CONTRIBUTORS}" }}', f'{{ name = "{author}", email = "{email}" }}', "pyproject.toml"
    )
    project = replaced(project, "[project.urls]\n", urls, "pyproject.toml")
    citation = replaced(
        (root / "CITATION.cff").read_text(), f'name: "{CONTRIBUTORS}"', f'name: "{author}"', "CITATION.cff"
    )
    citation = replaced(citation, "\nlicense: MIT\n", f'\nlicense: MIT\nrepository-code: "{url}"\n', "CITATION.cff")
    texts = {"README.md": readme, "pyproject.toml": project, "CITATION.cff": citation}
    for name in ("CODE_OF_CONDUCT.md", "SECURITY.md"):
        texts[name] = replaced((root / name).read_text(), "the address in the metadata of the package", email, name)
    return {root / name: text for name, text in texts.items()}


def main(arguments: list[str] | None = None, root: Path = ROOT) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--author", required=True)
    parser.add_argument("--email", required=True)
    given = parser.parse_args(arguments)
    for path, text in filled(root, given.url, given.author, given.email).items():
        path.write_text(text)


if __name__ == "__main__":
    main()

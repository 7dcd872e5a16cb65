"""What the pages of the site promise, without building it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("**/*.md")) + [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def test_every_page_installs_from_the_checkout():
    """The package is on no index: `pip install genn_eventprop` would find nothing, or another project."""
    for page in PAGES:
        lines = re.findall(r"pip install[^`\n]*genn_eventprop.*", page.read_text())
        assert not lines, page


def test_the_first_page_has_the_commands_of_the_readme():
    first, readme = (
        re.search(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)[1]
        for page in ("docs/index.md", "README.md")
    )
    assert first == readme

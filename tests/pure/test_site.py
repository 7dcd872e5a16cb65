"""What the pages of the site promise, without building it."""

import re
import runpy
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


def test_the_reference_gives_every_parameter_a_line():
    """Docstrings write several in one line; a colon in a text begins no parameter."""
    split = runpy.run_path(str(ROOT / "docs" / "conf.py"))["one_parameter_a_line"]

    def connect(source, target, delay, receptor): ...

    together = "    source: a population. target: another one; delay: no name. delay, receptor: of it,"
    lines = ["Connect.", "", "Args:", together, "        in ms.", ""]
    split(None, "function", "connect", connect, None, lines)
    assert lines[2:] == [
        "Args:", "    source: a population.", "    target: another one; delay: no name.", "    delay, receptor: of it,",
        "        in ms.", "",
    ]  # fmt: skip
    wrapped = ["Args:", "    source: a population of", "        delay: 3.", "        target: another one."]
    split(None, "function", "connect", connect, None, wrapped)
    assert wrapped[1:] == ["    source: a population of", "        delay: 3.", "    target: another one."]


def test_the_paper_cites_what_its_bibliography_has():
    text, entries = ((ROOT / "paper" / name).read_text() for name in ("paper.md", "paper.bib"))
    keys = re.findall(r"^@\w+\{(\w+),", entries, re.MULTILINE)
    assert set(re.findall(r"\[@(\w+)\]", text)) == set(keys) and len(keys) == len(set(keys))


def test_the_commands_of_the_paper_exist():
    """Scripts and pages that it names are there; test_numbers.py compares its numbers with the pages."""
    text = (ROOT / "paper" / "paper.md").read_text()
    files = re.findall(r"`(?:python )?((?:benchmarks|docs)/[\w./]+)", text)
    assert len(files) >= 6 and all((ROOT / name).is_file() for name in files)


def test_the_commands_of_renew_exist():
    """Every script of benchmarks/renew.sh is there and has the options that it is given; a run takes hours."""
    lines = re.findall(r"python (benchmarks/\w+\.py)([^#|]*)", (ROOT / "benchmarks" / "renew.sh").read_text())
    assert len(lines) > 10
    for script, arguments in lines:
        text = re.sub(r"\s+", " ", (ROOT / script).read_text())
        for option in re.findall(r"--[\w-]+", arguments):
            field = option.strip("-").replace("-", "_")  # of settings
            assert any(said in text for said in (f'"{option}"', f" {field}: ", f'"{field}"')), (script, option)


def test_links_open_where_the_code_is_hosted():
    """Pages are read there too: what only the site has (docs/gallery, docs/generated) cannot be opened."""
    for page in PAGES:
        for link in re.findall(r"\]\(((?!http|mailto|#)[^)#\s]+)", page.read_text()):
            path = (page.parent / link).resolve()
            assert path.exists() and not {"gallery", "generated"} & set(path.parts[len(ROOT.parts) :]), (page, link)

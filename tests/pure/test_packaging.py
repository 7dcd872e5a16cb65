"""The wheel holds everything, under the right names, and the tests see the packages under those names only."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "genn_eventprop"


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Paths inside the wheel: the one that CI built, else one built from a copy of the sources."""
    built = os.environ.get("GENN_EVENTPROP_WHEEL_DIR")
    folder = Path(built) if built else tmp_path_factory.mktemp("wheel")
    if not built:
        build_wheel(folder)
    (wheel,) = folder.glob("genn_eventprop-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def build_wheel(folder: Path) -> None:
    """Build in a copy: a build inside the checkout leaves a build folder whose stale files enter the next wheel."""
    copy = folder / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


SOURCES = [file.relative_to(ROOT) for file in PACKAGE.rglob("*.py*") if file.suffix in (".py", ".pyi")]


def test_every_source_file_is_in_the_wheel(wheel_names: set[str]) -> None:
    assert len(SOURCES) > 300
    assert {file.as_posix() for file in SOURCES} <= wheel_names


def test_wheel_has_type_marker_and_no_other_top_level_package(wheel_names: set[str]) -> None:
    assert "genn_eventprop/py.typed" in wheel_names
    top = {name.split("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"genn_eventprop"}


def test_every_folder_with_code_is_a_regular_package() -> None:
    without = {str(file.parent) for file in SOURCES if not (ROOT / file).with_name("__init__.py").exists()}
    assert not without, "these folders have Python files but no __init__.py"


@pytest.mark.parametrize("name", ["models", "experiments"])
def test_no_second_name_for_the_same_code(name: str) -> None:
    """No folder of the checkout's root, which an editable installation has on its path, may hide one of the user's."""
    assert importlib.util.find_spec(name) is None


def test_the_checkout_is_whole_without_an_installation() -> None:
    """Python in the checkout's root imports the package from there, wherever another one is installed."""
    rooms = "import genn_eventprop.models, genn_eventprop.experiments"
    done = subprocess.run([sys.executable, "-S", "-c", rooms], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_console_script_points_to_the_command_line() -> None:
    from importlib.metadata import entry_points

    (script,) = [e for e in entry_points(group="console_scripts") if e.name == "genn-eventprop"]
    assert script.value == "genn_eventprop.cli:main"


def test_one_version_everywhere(wheel_names: set[str]) -> None:
    """Of the package, its wheel, the citation, the conda recipe, the changelog and the switcher of the site."""
    import genn_eventprop

    version = genn_eventprop.__version__
    assert f"genn_eventprop-{version}.dist-info/METADATA" in wheel_names
    for file, line in (
        ("CITATION.cff", f"\nversion: {version}\ndate-released: "),
        ("packaging/conda/recipe.yaml", f'  version: "{version}"\n'),
        ("CHANGELOG.md", f"\n## {version} - "),
        ("docs/conf.py", f'\nVERSIONS = ("{version}",'),
    ):
        assert line in (ROOT / file).read_text(), f"{file} lacks {line!r}"


def test_the_conda_recipe_has_the_requirements_of_the_package() -> None:
    """The same bounds; matplotlib-base is conda's name of matplotlib without a window system."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    recipe = (ROOT / "packaging" / "conda" / "recipe.yaml").read_text()
    for requirement in [*project["dependencies"], f"python{project['requires-python']}"]:
        name, bound = re.split(r"(?=[<>=])", requirement, maxsplit=1)
        name = "matplotlib-base" if name == "matplotlib" else name
        assert f"    - {name} {bound}\n" in recipe.partition("  run:\n")[2], requirement


def test_ci_tries_every_extra() -> None:
    """Each alone, and all in one environment; the rest is of the other environments, or for machines without g++."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    alone = re.search(r"extra: \[(.*)\]", (ROOT / ".github/workflows/tests.yml").read_text())[1].split(", ")
    assert alone == sorted(name for name in extras if name not in ("genn", "test", "dev"))
    together = re.search(r"\$root\[(.*?)\]", (ROOT / ".ci/run").read_text())[1].split(",")
    assert together == sorted({*extras} - {"compiler", "docs", "genn", "tensorboard", "view"})
    script = (ROOT / ".ci/extra").read_text()
    assert all(re.search(rf"^    (\w+ \| )?{name}( \| \w+)?\)", script, re.MULTILINE) for name in alone)


ROOMS = """
import os, genn_eventprop
for room in ("models", "losses", "regularisers", "optimisers", "data", "report", "engines", "training"):
    if os.fork() == 0:  # where no other room has been imported
        os._exit(getattr(genn_eventprop, room).__name__ != f"genn_eventprop.{room}")
    assert os.wait()[1] == 0, room
"""


@pytest.mark.ci
def test_rooms_are_there_after_the_plain_import() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", ROOMS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_one_command_writes_the_address_everywhere(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("address", ROOT / "packaging" / "address.py")
    address = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(address)
    for name in ("README.md", "pyproject.toml", "CITATION.cff", "CODE_OF_CONDUCT.md", "SECURITY.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    url, email = "https://github.com/owner/genn_eventprop", "owner@example.org"
    address.main([f"{url}.git", "--author", "A. Owner", "--email", email], tmp_path)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Repository"] == url and project["authors"] == [{"name": "A. Owner", "email": email}]
    readme = (tmp_path / "README.md").read_text()
    links = re.findall(r"\]\(([^)]*)\)", readme)
    assert f"git clone {url}`" in readme and all(link.startswith("https://") for link in links)
    assert f"{url}/blob/main/docs/data.md" in links
    assert "https://raw.githubusercontent.com/owner/genn_eventprop/main/docs/figures/zoo.png" in links
    assert f'repository-code: "{url}"' in (tmp_path / "CITATION.cff").read_text()
    assert all(email in (tmp_path / name).read_text() for name in ("CODE_OF_CONDUCT.md", "SECURITY.md"))
    with pytest.raises(SystemExit, match="nothing was written"):
        address.main([url, "--author", "A", "--email", email], tmp_path)

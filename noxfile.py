#!/usr/bin/env -S uv run
# /// script
# dependencies = ["nox>=2025.2.9"]
# ///
"""Tasks for `nox`, which makes an environment for each: nox -s lint types tests-3.13 distributions.

`bash .ci/run` runs everything without nox.
"""

from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint."""
    session.install("ruff>=0.8", "check-jsonschema>=0.29")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    workflows = sorted(str(f) for f in Path(".github/workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


@nox.session(default=False)
def types(session: nox.Session) -> None:
    """mypy on the built wheel."""
    session.install("-e", ".[dev]")
    session.run("bash", ".ci/typecheck", external=True)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """The default tests, or those named behind --."""
    session.install("-e", ".[data,test]")
    session.run("pytest", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The site, in docs/_build/html."""
    session.install("-e", ".[docs,torch]")
    session.run("sphinx-build", "-W", "--keep-going", "docs", "docs/_build/html")


@nox.session(default=False)
def distributions(session: nox.Session) -> None:
    """The source archive and the wheel, checked."""
    session.install("build", "twine", "check-wheel-contents")
    session.run("python", "-m", "build")
    session.run("sh", "-c", "twine check --strict dist/* && check-wheel-contents dist/*.whl", external=True)


if __name__ == "__main__":
    nox.main()

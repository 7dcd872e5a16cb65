"""Code of README and docs as a person takes it: block by block from the top, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.flags import FLAGS

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """language: python, bash, text, ... line: of the file, where it begins. name: of the file that it is saved as."""

    language: str
    text: str
    line: int
    name: str = ""


def blocks(page: str) -> list[Block]:
    """The code of a page; where the sentence before a block says "Save this as `NAME`", it has that name."""
    text = (ROOT / page).read_text()
    found = []
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        before = text[: match.start()].rstrip().rpartition("\n\n")[2]
        name = re.search(r"[Ss]ave this as `([^`]+)`", before)
        found.append(Block(match[1], match[2], text.count("\n", 0, match.start()) + 1, name[1] if name else ""))
    return found


def commands(block: Block) -> list[str]:
    """The lines of a bash block that call genn-eventprop, without their comments."""
    lines = (line.partition("  #")[0].strip().removeprefix(".venv/bin/") for line in block.text.splitlines())
    return [line for line in lines if line.startswith("genn-eventprop ")]


def shell(command: str, folder: Path) -> str:
    """What a command prints, run with the programs of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    as_users = {k: v for k, v in os.environ.items() if k != FLAGS}  # code is optimised, as trainings need it
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, check=False, env={**as_users, "PATH": path}
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shape(text: str) -> str:
    """A text with every number replaced: what a page shows was printed on another machine."""
    return re.sub(r"\d+(\.\d+)?", "0", text).strip()


def run_in_order(page: str, folder: Path) -> dict[str, Any]:
    """Runs all Python of a page in one interpreter, and its commands between; files with a name are saved too. Returns
    the names."""
    names: dict[str, Any] = {}
    for block in blocks(page):
        if block.name:
            (folder / block.name).write_text(block.text)
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, page, "exec"), names)
        elif block.language == "bash":
            for command in commands(block):
                shell(command, folder)
    return names

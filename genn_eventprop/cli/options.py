"""Options from the signatures of functions and the fields of dataclasses (tyro), with help that fits the terminal and
mistakes in one line."""

from __future__ import annotations

import difflib
import functools
import inspect
import io
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro

from ..errors import UsageError, suggest
from ..output import say
from ..renamed import options as renamed

NOTHING = re.compile(r"\s*\(default:\s*(None|'')?\)")
"""Defaults that the help omits: the text of the option says what happens without it."""
OPTION = re.compile(r" {2}\S.*? {2,}(?=\S)")
"""An option or positional argument whose text begins on the same line."""
ENTRY = re.compile(r"^  (\S.*?)(?: {2,}|\n {3,})(\S.*(?:\n {3,}\S.*)*)", re.MULTILINE)
"""An option or positional argument as it is written, and its text."""
EXAMPLE = 4
"""Indentation of examples, whose lines stay as they are."""
WIDEST = 100
"""Columns of help, however wide the terminal is."""


def operand(metavar: str) -> tuple[Any, ...]:
    """What makes an argument of a command one without a name, for ``Annotated``."""
    return tyro.conf.Positional, tyro.conf.arg(metavar=metavar)


Run = Annotated[Path, *operand("RUN")]
"""The argument of commands on a run folder."""


def parse(what: Any, arguments: Sequence[str], program: str, **settings: Any) -> Any:
    """Call the function, or make the dataclass, `what` with the options in `arguments`.

    `settings` go to ``tyro.cli``. Help ends in SystemExit.

    Raises:
        UsageError: an option that is unknown, a value that cannot be read, something missing, or a word too many.
    """
    later, arguments = what, renamed(program, arguments)
    if not isinstance(what, type):
        # a function is called once tyro is done, whose output is held back here; tyro would describe the partial
        later = functools.wraps(what)(functools.partial(functools.partial, what))
        # its first line is of the list of commands
        description = (inspect.getdoc(what) or "").partition("\n\n")[2].split("\n\nArgs:")[0]
        settings.setdefault("description", description)
    read = functools.partial(
        tyro.cli, later, prog=program, config=(tyro.conf.DisallowNone,), return_unknown_args=True, **settings
    )
    printed, complaint, rest = io.StringIO(), io.StringIO(), []
    try:
        with redirect_stdout(printed), redirect_stderr(complaint):
            made, rest = read(args=list(arguments))
    except SystemExit as stop:
        if not stop.code:
            shown = printed.getvalue()
            print(fitted(shown + where_documents_are(shown), min(shutil.get_terminal_size().columns, WIDEST)), end="")
            raise
    else:
        if not rest:
            return made if isinstance(what, type) else made()
    with redirect_stdout(io.StringIO()) as text, suppress(SystemExit):
        read(args=["--help"])
    mistake = _mistake(arguments, rest, complaint.getvalue(), _entries(text.getvalue()))
    raise UsageError(f"{mistake}; see {program} --help")


def where_documents_are(text: str) -> str:
    """A last line of help that names documents, which an installed package does not have; "" of any other."""
    if "docs/" not in text:
        return ""
    with suppress(PackageNotFoundError):
        for entry in metadata("genn_eventprop").get_all("Project-URL", []):
            name, _, address = entry.partition(", ")
            if name == "Repository":
                return f"\nThe documents are at {address}/tree/main/docs.\n"
    return "\nThe folder docs is part of the source archive and of the repository.\n"


def show_usage(text: str, arguments: Sequence[str]) -> NoReturn:
    """Print how a command is called and end: an answer on stdout after --help, else a complaint on stderr, status 2."""
    if arguments:
        print(text)
    else:
        say(text)
    raise SystemExit(0 if arguments else 2)


def _entries(text: str) -> dict[str, tuple[str, str]]:
    """Name of an option or positional argument -> how it is written in the help `text`, and what it is."""
    entries = {}
    for usage, words in ENTRY.findall(NOTHING.sub("", text)):
        described = " ".join(words.split()).removesuffix(" (required)").rstrip(".")
        entry = usage.rstrip(), re.sub(r"\. \((default: .*)\)$", r"; \1", described)
        for name in re.findall(r"(?<!\S)--?[\w-]+", usage) or [entry[0]]:
            entries[name] = entry
    return entries


def _mistake(
    arguments: Sequence[str], rest: Sequence[str], complaint: str, entries: Mapping[str, tuple[str, str]]
) -> str:
    """What is wrong with the arguments, and what would be right.

    Args:
        rest: the arguments that tyro could not place. complaint: what it said if it could not read one of them; names
            and values are looked for in it, and it stands as it is where it has none. entries: see `_entries`.
    """
    options = [name for name in entries if name.startswith("-")]
    written = [word.partition("=")[0] for word in arguments if re.match("--?[A-Za-z]", word)]
    if unknown := [name for name in written if name.replace("_", "-") not in options]:
        return "; ".join(f"unknown option {name}{_nearest(name, entries)}" for name in unknown)
    if rest:
        return f"no option or argument takes {rest[0]!r}"
    lines = [line.strip(" │╭╮╰╯─") for line in complaint.splitlines()]
    said = " ".join(line for line in lines if line)
    if bad := re.search(r"invalid choice '(.*?)' for argument '(.*?)'\. Expected one of \((.*?)\)", said):
        value, name, choices = bad.groups()
        values = set(re.findall("'(.*?)'", choices)) - {"None"}  # which is among them where it is the default
        return f"{f'{name}: ' if name in options else ''}unknown value {value!r}; {suggest(value, values)}"
    if (bad := re.search(r"Error parsing (\S+): [^']*('.*?')", said)) and bad[1] in entries:
        return "{} cannot be read as the value of {} ({})".format(bad[2], *entries[bad[1]])
    if bad := re.search(r"Missing value for argument '(.*?)'", said):
        if bad[1] in options:
            return "a value is missing: {} ({})".format(*entries[bad[1]])
        lines.append(bad[1].upper())
    missing = ["{} is missing ({})".format(*entry) for name, entry in entries.items() if name in lines]
    return "; ".join(missing) or said


def _nearest(name: str, entries: Mapping[str, tuple[str, str]]) -> str:
    """Ask for the option that is spelt much like `name`, or whose words begin with its letters, as those of --lr do."""
    spelt = name.strip("-").lower().replace("_", "-")
    options = [option[2:] for option in entries if option.startswith("--")]
    initials = {"".join(word[0] for word in option.split("-")): option for option in options if "-" in option}
    close = [initials[spelt]] if spelt in initials else difflib.get_close_matches(spelt, options, n=1)
    return f" (did you mean {entries[f'--{close[0]}'][0]}?)" if close else ""


def fitted(text: str, width: int) -> str:
    """Help as tyro writes it, without empty defaults, each paragraph and each option's text wrapped to `width`."""
    paragraphs: list[list[str]] = []
    column = -1  # where the text of the line before begins
    for line in map(str.rstrip, NOTHING.sub("", text).splitlines()):
        indent = len(line) - len(line.lstrip())
        if line and indent == column and (indent == 0 or indent > EXAMPLE):
            paragraphs[-1].append(line.lstrip())
            continue
        paragraphs.append([line])
        option = OPTION.match(line)
        column = -1 if not line else option.end() if option else indent
    return "\n".join(_wrapped(lines, width) for lines in paragraphs) + "\n"


def _wrapped(lines: Sequence[str], width: int) -> str:
    """One paragraph; a single indented line, an example say, stays as it is."""
    if len(lines) == 1 and lines[0].startswith(" "):
        return lines[0]
    option = OPTION.match(lines[0])
    column = option.end() if option else len(lines[0]) - len(lines[0].lstrip())
    words = " ".join([lines[0][column:], *lines[1:]])
    wrapped = textwrap.wrap(words, max(width - column, 20), break_on_hyphens=False) or [""]
    return ("\n" + " " * column).join([lines[0][:column] + wrapped[0], *wrapped[1:]])

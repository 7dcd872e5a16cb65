"""Which command does what, and what users see when something is wrong."""

from __future__ import annotations

import ast
import errno
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import partial
from importlib import import_module, resources

from .. import __version__
from ..atomic import advice
from ..errors import EventPropError, OutputError, Terminated, UsageError, suggest
from ..output import Output, say
from .first_import import importing

PROGRAM = "genn-eventprop"
Command = Callable[[Sequence[str], str], None]
# command: module of this folder, imported when the command is run (sympy and matplotlib take a second), function
COMMANDS = {
    "train": ("train", "train"),
    "evaluate": ("run_commands", "evaluate"),
    "predict": ("predict", "predict"),
    "resume": ("run_commands", "resume"),
    "export": ("run_commands", "export"),
    "scan": ("scan", "scan"),
    "plot": ("plot", "plot"),
    "view": ("view", "view"),
    "report": ("report", "report"),
    "reproduce": ("reproduce", "reproduce"),
    "fit": ("fit", "fit_command"),
    "infer": ("infer", "infer"),
    "events": ("events", "events"),
    "convert-audio": ("convert_audio", "convert_audio"),
    "make-data": ("make_data", "make_data"),
    "show": ("show", "show"),
    "gradcheck": ("inspect_commands", "gradcheck"),
    "engines": ("inspect_commands", "engines"),
    "cache": ("inspect_commands", "cache"),
    "completion": ("completion", "completion"),
}


WITH_WORDS = ("train", "scan", "reproduce", "make-data")
"""Commands that look at their words before options are parsed: functions of these, and of the name of the program."""
MEANT = {
    "search": "optuna searches the settings of a page with [search]: scan PAGE.toml, see docs/cluster.md",
    "test": "evaluate RUN tells the accuracy on the test set",
    "simulate": "plot RUN --only trial shows one; in Python: genn_eventprop.simulate",
    "list": "the experiments are listed by: train --help",
}
"""Words that are no commands, and what does it."""
PRINTING = ("predict", "report", "show", "evaluate", "gradcheck", "cache", "completion")
"""Commands that only print, and so end when nobody reads on."""


def main(arguments: Sequence[str] | None, out: Output, logged: bool = False) -> int:
    """Run one command; the result is the exit status, 0 only if all went well.

    Mistakes of the user (`EventPropError`, files that cannot be read or written) become one message on stderr without
    a traceback; anything else is a bug and keeps its traceback.

    Args:
        out: sys.stdout. logged: it is the log of a job, which is for people alone: the job succeeds without it.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    status = _main(arguments, out)
    return status if logged else ended(status, out)


def ended(status: int, out: Output) -> int:
    """The exit status, once all that was printed is written; a message names the file that could not take it.

    That nobody reads on is no error of a command that has done something else besides printing.
    """
    with suppress(OutputError):  # `out.error` has it
        out.flush()
    if out.error is None or status:
        return status
    if isinstance(out.error, BrokenPipeError):
        return int(not out.lasting)
    return _complain(out.told() + ("; what the command has written elsewhere is whole" if out.lasting else ""), 1)


def _main(arguments: list[str], out: Output) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        (print if arguments else say)(_help())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"{PROGRAM} {__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        hint = MEANT.get(name) or suggest(name, COMMANDS)
        return _complain(f"unknown command {name!r} ({hint})", status=2)
    module, function = COMMANDS[name]
    out.lasting = name not in PRINTING
    with importing(module):
        module_of_command = import_module(f"{__package__}.{module}")
        from ..training import interrupt  # noqa: F401  (what `run` needs, while Ctrl-C is heard)
        from .options import parse
    command = getattr(module_of_command, function)
    return run(command if name in WITH_WORDS else partial(parse, command), rest, f"{PROGRAM} {name}")


def run(command: Command, arguments: Sequence[str], program: str) -> int:
    """Run a command; turn anything that goes wrong into a message and an exit status.

    With several ranks (mpiexec), only the first prints; it also reports errors of the others.
    """
    from ..distributed import launched

    if launched()[0] > 0:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            return _run(command, arguments, program)
    return _run(command, arguments, program)


def _run(command: Command, arguments: Sequence[str], program: str) -> int:
    from ..training.interrupt import terminable

    try:
        with terminable():
            command(arguments, program)
    except SystemExit as stop:  # after --help, say
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt as stop:
        word, status = (stop.word, stop.status) if isinstance(stop, Terminated) else ("interrupted", 130)
        return _complain("; ".join([word, *map(str, _said_by(stop))]), status)
    except OutputError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # the reader, `head` say, has seen enough
            return 1
        return _complain(str(error), status=1)
    except MemoryError as error:
        return _complain(
            f"out of memory: {str(error) or 'something does not fit'}; use a smaller batch or "
            "network, a shorter trial, or a larger dt",
            status=1,
        )
    except OSError as error:
        return _complain(_in_words(error), status=1)
    except EventPropError as error:
        return _complain(str(error), status=2 if isinstance(error, UsageError) else 1)
    return 0


def _said_by(stop: BaseException | None) -> tuple[object, ...]:
    """What a command that was asked to end has to say; asked again meanwhile, what it was about to say."""
    while isinstance(stop, KeyboardInterrupt):
        if stop.args:
            return stop.args
        stop = stop.__context__
    return ()


def _in_words(error: OSError) -> str:
    """A file that cannot be opened, read or made, and what to do where that is sure."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
        place = "a file" if error.filename is None else str(error.filename)
        return f"{place} cannot be opened or written ({error.strerror}); {advice(error)}"
    return str(error)


def _complain(message: str, status: int) -> int:
    with suppress(OutputError):
        sys.stdout.flush()
    say(f"{PROGRAM}: {message}")
    return status


def _help() -> str:
    lines = [f"usage: {PROGRAM} COMMAND ...", "", "Exact gradients of spiking neural networks (EventProp).", ""]
    for name, place in COMMANDS.items():
        lines += textwrap.wrap(
            _summary(*place), 79, initial_indent=f"  {name:14} ", subsequent_indent=" " * 17, break_on_hyphens=False
        )
    return "\n".join([*lines, "", f"{PROGRAM} COMMAND --help describes a command; --version prints the version."])


def _summary(module: str, function: str) -> str:
    """The first line of a function's docstring, read from its file: an import would take long."""
    text = resources.files(__package__).joinpath(f"{module}.py").read_text(encoding="utf-8")
    (definition,) = (n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == function)
    return (ast.get_docstring(definition) or "").splitlines()[0]

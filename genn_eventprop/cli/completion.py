"""``completion SHELL``: commands, experiments and their options at the Tab key."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal, Union

import tyro

from ..errors import SettingError
from ..experiment.experiment import experiment_names, load_experiment
from .app import COMMANDS, PROGRAM, WITH_WORDS
from .options import operand


def completion(
    shell: Annotated[Literal["bash", "zsh"], *operand("SHELL")],
) -> None:
    """Print a script that completes commands and options when Tab is pressed: completion bash.

    Print a script that completes commands, experiments and options when Tab is pressed. For bash:

        genn-eventprop completion bash > ~/.local/share/bash-completion/completions/genn-eventprop

    For zsh, write it to a file _genn-eventprop in a folder of $fpath. Experiments in files of your own are not in it.

    Args:
        shell: bash or zsh.
    """
    print(script(shell), end="")


def script(shell: str) -> str:
    """The completion script of the whole command line, as tyro writes it."""
    commands = {name: _options_of(name, *place) for name, place in COMMANDS.items()}
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(
            commands, prog=PROGRAM, args=["--tyro-print-completion", shell], config=(tyro.conf.OmitArgPrefixes,)
        )
    lines = text.getvalue().splitlines(keepends=True)
    if len(lines) < len(COMMANDS):
        raise SettingError(f"tyro {tyro.__version__} writes no completion for {shell}; use bash")
    # a shell takes every further line of a description for a completion
    return "".join(line.replace("\\n", " ") if line.startswith("COMPLETION_SPEC") else line for line in lines)


def _options_of(name: str, module: str, function: str) -> Callable[..., Any]:
    """The function whose arguments are the options of a command; of `train`, a choice of experiments."""
    if name == "train":
        return _train_options()
    options = f"_{function}" if name in WITH_WORDS else function
    return getattr(import_module(f"{__package__}.{module}"), options, lambda: None)


def _train_options() -> Callable[..., Any]:
    """A function of one argument: any of the installed experiments with its options."""
    pages = [
        Annotated[load_experiment(name).config, tyro.conf.subcommand(name, prefix_name=False)]
        for name in experiment_names()
    ]

    def train(experiment: Any) -> None: ...

    train.__annotations__["experiment"] = Union[tuple(pages)]  # noqa: UP007  (of a list that is known here only)
    return train

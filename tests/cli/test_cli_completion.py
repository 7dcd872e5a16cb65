"""``completion bash``: what the Tab key offers, asked of a real shell."""

import os
import shutil
import subprocess
import sys

import pytest

from genn_eventprop.cli import main

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
$(complete -p genn-eventprop | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.ci
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_shell_completes_commands_and_options(tmp_path, capsys):
    assert main(["completion", "bash"]) == 0
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    (tmp_path / "python3").symlink_to(sys.executable)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    for words, wanted in (
        (["gradch"], {"gradcheck"}),
        (["train", "yin_"], {"yin_yang"}),
        (["train", "yin_yang", "--spike-t"], {"--spike-times"}),
        (["train", "shd", "--hold"], {"--hold-out"}),
        (["export", "--nir"], {"--nir-dialect"}),
        (["report", "--pa"], {"--paired", "--page"}),
        (["report", "--no-p"], {"--no-paired"}),
    ):
        command = ["bash", "-c", ASK, "ask", str(tmp_path / "completion"), "genn-eventprop", *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=True)
        assert set(done.stdout.split("\n")) - {""} == wanted, (words, done.stderr)
    assert main(["completion", "dos"]) == 2
    assert "'dos'" in capsys.readouterr().err

"""Finding a compiler and keeping what it made: order, errors that say what to do, races, size limit."""

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from genn_eventprop.errors import ToolchainError
from genn_eventprop.toolchain import Cache, Compiler, build, cache_folder, clear, find_compiler, load
from genn_eventprop.toolchain import compiler as compilers
from support.compiled import as_in_a_new_process

SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache of this test, and nothing loaded before."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(cache))
    as_in_a_new_process(monkeypatch)
    return cache


def fake(path, version, status=0):
    """An executable that answers --version as a compiler would."""
    path.write_text(f"#!/bin/sh\necho '{version}'\nexit {status}\n")
    path.chmod(0o755)
    return path


def published(cache, key, content):
    """A library in the cache, as `build` puts it there."""
    built = cache.folder / "built"
    built.write_bytes(content)
    return cache.publish(built, key)


@pytest.fixture
def only(tmp_path, monkeypatch):
    """PATH with nothing but what a test puts into a folder; no ziglang."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", str(bin_folder))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
    return bin_folder


def test_compilers_are_tried_in_order(only, monkeypatch):
    fake(only / "clang++", "clang version 17.0.1")
    assert find_compiler().kind == "clang"
    fake(only / "g++", "g++ (Debian 12.4.0) 12.4.0")
    found = find_compiler()
    assert (found.kind, found.version) == ("gcc", "g++ (Debian 12.4.0) 12.4.0")
    fake(only / "mine", "Apple clang version 15.0.0 (arm64)")
    monkeypatch.setenv("CXX", f"{only / 'mine'} -some-flag")
    found = find_compiler()
    assert found.kind == "apple-clang" and found.command == (str(only / "mine"), "-some-flag")
    assert "-mcpu=native" in found.flags
    monkeypatch.setenv("CXX", "")
    assert find_compiler().kind == "gcc"


def test_a_compiler_that_fails_is_passed_over(only):
    fake(only / "g++", "broken", status=1)
    fake(only / "clang++", "clang version 17.0.1")
    assert find_compiler().kind == "clang"


def test_ziglang_is_the_last_resort(only, monkeypatch):
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: object() if name == "ziglang" else None)
    assert compilers._candidates() == [(sys.executable, "-m", "ziglang", "c++")]
    zig = Compiler((sys.executable, "-m", "ziglang", "c++"), "zig", "clang version 20")
    assert "-fno-sanitize=undefined" in zig.flags and "-ffast-math" not in zig.flags
    fake(only / "zig", "clang version 20.1.2")
    monkeypatch.setenv("CXX", f"{only / 'zig'} c++")
    assert find_compiler().kind == "zig"


def test_no_compiler_says_how_to_get_one(only):
    with pytest.raises(
        ToolchainError, match=r"no C\+\+ compiler was found \(looked for \$CXX, g\+\+, clang\+\+ and the"
    ):
        find_compiler()
    with pytest.raises(ToolchainError, match=r'pip install "genn_eventprop\[compiler\]"'):
        find_compiler()


@pytest.mark.parametrize("wanted", ["/nowhere/g++", "false", "g++ 'open quote"])
def test_a_broken_cxx_is_an_error_and_not_passed_over(monkeypatch, wanted):
    monkeypatch.setenv("CXX", wanted)
    with pytest.raises(ToolchainError, match="CXX is set to .*, which does not run; unset it or set it to a C"):
        find_compiler()


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(tmp_path / "there"))
    assert cache_folder() == tmp_path / "there"
    monkeypatch.delenv("GENN_EVENTPROP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "genn_eventprop"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "genn_eventprop"


def test_code_is_compiled_once_and_runs(folder, monkeypatch):
    assert build(SOURCE).answer() == 42
    (library,) = folder.glob("*.so")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and not list(folder.glob("build-*"))
    number = library.stat().st_ino  # of another file, if it were compiled again
    assert build(SOURCE).answer() == 42
    as_in_a_new_process(monkeypatch)
    before = library.stat().st_mtime_ns
    os.utime(library, (1, 1))
    assert build(SOURCE).answer() == 42
    assert [library] == [*folder.glob("*.so")] and library.stat().st_ino == number
    assert library.stat().st_mtime_ns >= before, "the time of last use must be renewed"


def test_the_key_holds_everything_that_changes_the_code(monkeypatch):
    gcc = Compiler(("g++",), "gcc", "12.4")
    key = load.key_of(SOURCE, gcc)
    others = [load.key_of(SOURCE + " ", gcc), load.key_of(SOURCE, Compiler(("g++",), "gcc", "13"))]
    others.append(load.key_of(SOURCE, Compiler(("g++",), "zig", "12.4")))
    monkeypatch.setattr(load, "cpu_features", lambda: "another processor")
    others.append(load.key_of(SOURCE, gcc))
    assert len({key, *others}) == 5
    assert len(compilers.cpu_features()) > 20


def test_a_failing_source_is_kept_with_its_message(folder):
    with pytest.raises(ToolchainError, match=r"did not compile; source and log kept at .*failed.*\.cpp") as caught:
        build("int broken( { }\n")
    assert "error" in str(caught.value)
    (source,) = (folder / "failed").glob("*.cpp")
    assert source.read_text() == "int broken( { }\n" and "error" in source.with_suffix(".log").read_text()
    assert not list(folder.glob("*.so"))
    assert build(SOURCE).answer() == 42


def test_folders_that_others_can_write_are_refused(folder):
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    with pytest.raises(ToolchainError, match=f"can be written by others and is not trusted; run: chmod 700 {folder}"):
        build(SOURCE)
    folder.chmod(0o755)
    assert build(SOURCE).answer() == 42


def test_folders_of_others_are_refused(folder, monkeypatch):
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(ToolchainError, match="belongs to another user and is not trusted; set GENN_EVENTPROP_CACHE"):
        build(SOURCE)


def test_unusable_folders_say_how_to_move_them(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ToolchainError, match=r"cannot be used \(Not a directory\); set GENN_EVENTPROP_CACHE to a folder"
    ):
        Cache(tmp_path / "file" / "cache")
    full = Cache(tmp_path / "full")

    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(full, "scratch", no_space)
    with pytest.raises(ToolchainError, match=r"cannot write to the code cache .*No space left.*GENN_EVENTPROP_CACHE"):
        load._compile(SOURCE, find_compiler(), full, "key")


def test_a_library_that_cannot_be_loaded_names_the_reasons(folder):
    cache = Cache()
    (cache.folder / "bad.so").write_text("not a library")
    with pytest.raises(
        ToolchainError, match="cannot be loaded .*forbids execution, set GENN_EVENTPROP_CACHE.*cache clear"
    ):
        load._load(cache.folder / "bad.so", cache)


def test_a_cache_that_became_read_only_still_serves(folder, monkeypatch):
    cache = Cache()
    path = published(cache, "key-compiler", b"library")

    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.hit("key-compiler") == path
    assert cache.hit("other") is None


def test_the_size_limit_removes_what_was_unused_for_longest(folder):
    cache = Cache()
    for age, name in enumerate(["newest", "middle", "oldest"]):
        path = published(cache, name, b"x" * 100)
        os.utime(path, (1000 - age, 1000 - age))
    cache.trim(limit=250)
    assert sorted(p.stem.split("-")[0] for p in folder.glob("*.so")) == ["middle", "newest"]
    cache.trim(limit=10)
    left = [p.stem.split("-")[0] for p in folder.glob("*.so")]
    assert left == ["newest"], "what was just built stays, whatever its size"


def test_clear_removes_everything_and_counts(folder):
    assert clear() == (0, 0)
    build(SOURCE)
    with pytest.raises(ToolchainError):
        build("broken")
    (folder / "build-left").mkdir()
    (folder / "build-left" / "network.cpp").write_text("x")
    files, size = clear()
    assert files == 5 and size > 1000  # a library and its source, a failed source and its log, what a build left
    assert [p.name for p in folder.iterdir()] in ([], ["failed"])


def test_processes_that_build_the_same_code_at_once_all_get_it(folder, tmp_path):
    """Four processes wait for a common start, compile the same key, and all load a whole library."""
    code = textwrap.dedent(f"""
        import pathlib, sys, time
        from genn_eventprop.toolchain import build
        start = pathlib.Path({str(tmp_path / "start")!r})
        print("ready", flush=True)
        while not start.exists():
            time.sleep(0.001)
        print(build({SOURCE!r}).answer())
    """)
    command = [sys.executable, "-P", "-c", code]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    (tmp_path / "start").write_text("")
    answers = [child.communicate(timeout=60)[0] for child in children]
    assert answers == ["42\n"] * 4
    assert len(list(folder.glob("*.so"))) == 1 and not list(folder.glob("build-*"))


def test_the_folder_may_be_relative_or_empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_in_a_new_process(monkeypatch)
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", "here")
    assert cache_folder() == tmp_path / "here" and build(SOURCE).answer() == 42
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", "")
    assert cache_folder().is_absolute() and cache_folder().name == "genn_eventprop"

"""What a process has loaded of compiled code."""

from genn_eventprop.toolchain import load


def as_in_a_new_process(monkeypatch):
    """Libraries that were loaded before are loaded again, from the cache or the compiler."""
    monkeypatch.setattr(load, "_loaded", {})

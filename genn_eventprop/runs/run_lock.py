"""One run folder, one writer: a lock file with a heartbeat, for network file systems and for hosts that die.

The file ``.writer.json`` tells who writes: host, boot, process. It appears with its content by one `link`, which is
atomic on NFS too, and its time of modification is renewed every `BEAT` seconds. Whether its owner still lives is known
at once on the same machine (the process is there or not, whatever its number is used for now); of another machine it is
known when the file has not been touched for `STALE` seconds. Who takes over from a dead owner removes the old file
first, which only one process at a time may, by a lock of the same kind. A process that was suspended for so long that
it lost its lock finds out before it writes again (`check_writer`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

from ..atomic import advice
from ..checksummed import parsed
from ..errors import SettingError, TrainingError
from ..output import say

NAME = ".writer.json"
BEAT = 15.0
"""Seconds between signs of life."""
STALE = 120.0
"""Seconds without a sign of life after which the owner on another machine counts as dead."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock. boot and space (of process numbers) tell where `pid` and its start `began` mean anything."""

    host: str
    boot: str
    space: str
    pid: int
    began: str
    token: str


def myself() -> Owner:
    """This process, with a token of its own for every lock."""
    boot, pid = _read(Path("/proc/sys/kernel/random/boot_id")), os.getpid()
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        space = ""
    return Owner(socket.gethostname(), boot, space, pid, _began(pid), uuid.uuid4().hex)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When a process began, in ticks since boot: the same number with another beginning is another process."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def lives(owner: Owner) -> bool | None:
    """Whether the owner's process lives; None if that cannot be seen from here."""
    here = myself()
    if (owner.host, owner.boot, owner.space) != (here.host, here.boot, here.space):
        return None
    if owner.began:
        return _began(owner.pid) == owner.began
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


class _Lock:
    """A held lock: its file, and the thread that keeps it fresh. `depth`: how often this process has taken it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.me, self.depth = folder, myself(), 1
        self._over = threading.Event()
        self._descriptor = os.open(folder, os.O_RDONLY)
        try:
            _take(self.path, self.me)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._thread = threading.Thread(target=self._beat, daemon=True, name=f"writer of {folder}")
        self._thread.start()

    @property
    def path(self) -> Path:
        return self.moved(self.folder) / NAME

    def moved(self, path: Path) -> Path:
        """Where the folder `path`, which is locked, is now: it may have been renamed since."""
        here = os.fstat(self._descriptor)
        try:
            if os.path.samestat(here, os.stat(path)):
                return path
        except OSError:
            pass
        now = _path_of(self._descriptor)
        return now if now is not None and now.is_dir() and os.path.samestat(here, os.stat(now)) else path

    def mine(self) -> bool:
        owner = _owner(self.path)
        return owner is not None and owner.token == self.me.token

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError):  # a server that is away for a while
                if self.mine():
                    os.utime(self.path)

    def release(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            if self.mine():
                self.path.unlink()
        self._thread.join(1.0)  # it reads the descriptor
        os.close(self._descriptor)


def _path_of(descriptor: int) -> Path | None:
    """The path that an open folder has now; None where the system does not tell."""
    try:
        if sys.platform == "darwin":
            import fcntl

            return Path(os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
        return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    except (OSError, AttributeError):
        return None


_held: dict[Path, _Lock] = {}


@contextlib.contextmanager
def writer(folder: Path | str, made: bool = False) -> Iterator[None]:
    """Be the only writer of `folder`, which is made if it is not there, and then removed again if nothing was written.

    Within a process it may be taken again. A writer on another machine that shows no sign of life is waited for up to
    `STALE` seconds before this one takes over.

    Args:
        made: the caller has just made the folder, so that it may be removed too.

    Raises:
        SettingError: another process writes there; or the folder cannot be made.
    """
    folder = Path(folder)
    key, made = folder.resolve(), made or not folder.exists()
    if key in _held and _held[key].me.pid == os.getpid():
        _held[key].depth += 1  # the folder may have another name by now: it is not made again
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(
                f"run folder {folder} cannot be created ({error.strerror}); choose another --run-dir"
            ) from None
        try:
            _held[key] = _Lock(folder)
        except OSError as error:
            raise SettingError(f"{folder} cannot be written ({error.strerror}); {advice(error)}") from error
    try:
        yield
    finally:
        lock = _held[key]
        lock.depth -= 1
        if lock.depth == 0:
            del _held[key]
            place = lock.path.parent
            lock.release()
            if made:
                with contextlib.suppress(OSError):
                    place.rmdir()


def held(folder: Path) -> bool:
    """Whether a process writes to `folder` now, as far as can be known without waiting."""
    path = folder / NAME
    owner, touched = _owner(path), _touched(path)
    if owner is None or touched is None:
        return False
    alive = lives(owner)
    return time.time() - touched < STALE if alive is None else alive


def current_path(folder: Path) -> Path:
    """Where a folder is now: one that this process writes to may have been renamed since; any other is where it was."""
    lock = _held.get(folder.resolve())
    return folder if lock is None else lock.moved(folder)


def check_writer(folder: Path) -> None:
    """Raise `TrainingError` if this process has lost the lock of `folder` that it holds: it must write no more.

    Args:
        folder: as it was called when it was locked.
    """
    lock = _held.get(folder.resolve())
    if lock is not None and not lock.moved(folder).is_dir():
        raise TrainingError(f"{folder} is gone: it was removed, or moved to another disk; the run stops")
    if lock is not None and not lock.mine():
        raise TrainingError(
            f"another process has taken over {folder} while this one gave no heartbeat for {STALE:.0f} s; "
            "this one stops and writes nothing more"
        )


def _take(path: Path, me: Owner) -> None:
    """Make the lock file, taking over from an owner who is dead."""
    new = path.with_name(f"{path.name}.{me.token}.tmp")
    try:
        with open(new, "w") as file:
            file.write(json.dumps(asdict(me)))
            file.flush()
            os.fsync(file.fileno())
        while not _linked(new, path):
            owner = _owner(path)
            if owner is None and not path.exists():
                continue  # released meanwhile
            if owner is None and _foreign(path):
                raise SettingError(f"{path} was not written by genn-eventprop; choose another folder, or remove it")
            if lives(owner) if owner is not None and lives(owner) is not None else _beats(path, owner):
                raise SettingError(_busy(path, owner))
            _clear(path, owner, me)
    finally:
        new.unlink(missing_ok=True)


def _linked(new: Path, path: Path) -> bool:
    """Whether `new` has become `path`; False if another one is there."""
    try:
        os.link(new, path)
    except FileExistsError:
        return False
    except OSError as error:
        if new.stat().st_nlink == 2:  # NFS: the link was made, its answer got lost
            return True
        if error.errno not in _NO_LINKS:
            raise
        try:
            with open(path, "x") as file:
                file.write(new.read_text())
        except FileExistsError:
            return False
    return True


_NO_LINKS = {1, 38, 95, 45}  # EPERM, ENOSYS, EOPNOTSUPP on Linux and macOS: file systems without hard links


def _owner(path: Path) -> Owner | None:
    """Who is written in a lock file; None for one that is gone or damaged."""
    try:
        return Owner(**parsed(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _foreign(path: Path) -> bool:
    """Whether a file under the name of a lock is another program's, and not one of ours that was cut, or zeroed by a
    power cut."""
    try:
        text = path.read_bytes().rstrip(b"\0")
    except OSError:
        return path.is_dir()
    try:
        return not set(json.loads(text)) <= {field.name for field in fields(Owner)}
    except (ValueError, TypeError, RecursionError):
        return not (_START.startswith(text) or text.startswith(_START))


_START = b'{"host": '


def _beats(path: Path, owner: Owner | None) -> bool:
    """Whether a lock shows a sign of life, or goes away, while it is watched; False after `STALE` seconds of none."""
    first, began, told = _touched(path), time.monotonic(), False
    while first is not None:
        watched = time.monotonic() - began
        if max(_now(path) - first, watched) > STALE:
            return False
        if not told:
            told = True
            who = "somebody" if owner is None else f"process {owner.pid} on {owner.host}"
            say(f"note: {path.parent} was being written by {who}; waiting up to {STALE:.0f} s for a heartbeat")
        time.sleep(min(1.0, STALE / 20))
        now = _touched(path)
        if now is None:
            return False
        if now != first:
            return True
    return False


def _touched(path: Path) -> float | None:
    """Time of the last sign of life, by the clock of the file server; opening the file asks the server again."""
    try:
        with open(path) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


def _now(path: Path) -> float:
    """The clock of the file server."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _clear(path: Path, owner: Owner | None, me: Owner) -> None:
    """Remove the lock of a dead owner, unless another process was faster.

    Only who holds the lock on this removal may: between looking and removing, the lock cannot become another one's.
    """
    removal = path.with_name(f"{path.name}.{sha256(repr(owner).encode()).hexdigest()[:16]}")
    _take(removal, me)
    try:
        if _owner(path) == owner:
            path.unlink(missing_ok=True)
    finally:
        removal.unlink(missing_ok=True)


def _busy(path: Path, owner: Owner | None) -> str:
    who = "another process" if owner is None else f"process {owner.pid} on {owner.host}"
    return f"{path.parent} is being written by {who}; a run folder has one writer: wait for it, or stop it first"

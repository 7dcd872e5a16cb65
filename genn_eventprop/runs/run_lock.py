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
import stat
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
from ..regular import open_regular, read_regular

NAME = ".writer.json"
BEAT = 15.0
"""Seconds between signs of life."""
STALE = 120.0
"""Seconds without a sign of life after which the owner on another machine counts as dead."""


@dataclass(frozen=True)
class LockOwner:
    """The process that a lock belongs to.

    Attributes:
        host, boot, space: machine, start of the machine, name space of process numbers (a container has its own):
            `pid` and `began` mean something only where all three agree.
        pid, began: process number, and when the process began: numbers are used again.
        token: of this lock alone, so that a lock which was lost is not mistaken for the one that replaced it.
    """

    host: str
    boot: str
    space: str
    pid: int
    began: str
    token: str


def current_process() -> LockOwner:
    """This process as the owner of a new lock, with a new token."""
    boot, pid = _read(Path("/proc/sys/kernel/random/boot_id")), os.getpid()
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        space = ""
    return LockOwner(socket.gethostname(), boot, space, pid, _start_time(pid), uuid.uuid4().hex)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """When a process began, in ticks since boot: the same number with another beginning is another process."""
    # the second field is the program's name, which may itself hold blanks and brackets
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""  # Z: ended, and not yet waited for


def is_alive(owner: LockOwner) -> bool | None:
    """Whether the owner's process lives; None if that cannot be seen from here."""
    here = current_process()
    if (owner.host, owner.boot, owner.space) != (here.host, here.boot, here.space):
        return None
    if owner.began:
        return _start_time(owner.pid) == owner.began
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True


class RunLock:
    """The lock of one folder while this process has it: the lock file, and the thread that keeps it fresh.

    Attributes:
        depth: how many ``with lock_for_writing`` blocks of this process are inside each other.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.owner, self.depth = folder, current_process(), 1
        self._over = threading.Event()
        self._descriptor = os.open(folder, os.O_RDONLY)  # stays the same folder when its name changes
        try:
            _acquire(self.path, self.owner)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._thread = threading.Thread(target=self._heartbeat, daemon=True, name=f"writer of {folder}")
        self._thread.start()

    @property
    def path(self) -> Path:
        return self.current_path(self.folder) / NAME

    def current_path(self, path: Path) -> Path:
        """Where the folder `path`, which is locked, is now: it may have been renamed since."""
        here = os.fstat(self._descriptor)
        with contextlib.suppress(OSError):  # nothing has that name any more: the folder was renamed, or removed
            if os.path.samestat(here, os.stat(path)):
                return path
        now = _path_of(self._descriptor)
        return now if now is not None and now.is_dir() and os.path.samestat(here, os.stat(now)) else path

    def is_valid(self) -> bool:
        owner = _read_owner(self.path)
        return owner is not None and owner.token == self.owner.token

    def _heartbeat(self) -> None:
        while not self._over.wait(BEAT):
            # A server that is away for a while is no reason to stop: `check_writer` tells before the next write whether
            # somebody took over meanwhile. The heartbeat of a lock that was lost must not refresh its successor.
            with contextlib.suppress(OSError):
                if self.is_valid():
                    os.utime(self.path)

    def release(self) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            if self.is_valid():
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


_locks: dict[Path, RunLock] = {}


@contextlib.contextmanager
def lock_for_writing(folder: Path | str, created: bool = False) -> Iterator[None]:
    """Lock `folder` inside a ``with`` block: this process is its only writer.

    A folder that is not there is created, and removed again if nothing was written. Blocks of one process may be inside
    each other. A writer on another machine that shows no sign of life is waited for up to `STALE` seconds before this
    one takes over.

    Args:
        created: the caller has just created the folder, so that it may be removed too.

    Raises:
        SettingError: another process writes there; or the folder cannot be made.
    """
    folder = Path(folder)
    key, created = folder.resolve(), created or not folder.exists()
    if key in _locks and _locks[key].owner.pid == os.getpid():
        _locks[key].depth += 1  # the folder may have another name by now: it is not made again
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(
                f"run folder {folder} cannot be created ({error.strerror}); choose another --run-dir"
            ) from None
        try:
            _locks[key] = RunLock(folder)
        except OSError as error:
            raise SettingError(f"{folder} cannot be written ({error.strerror}); {advice(error)}") from error
    try:
        yield
    finally:
        lock = _locks[key]
        lock.depth -= 1
        if lock.depth == 0:
            del _locks[key]
            place = lock.path.parent
            lock.release()
            if created:
                with contextlib.suppress(OSError):
                    place.rmdir()


def is_locked(folder: Path) -> bool:
    """Whether a process writes to `folder` now, as far as can be known without waiting."""
    path = folder / NAME
    owner, heartbeat = _read_owner(path), _last_heartbeat(path)
    if owner is None or heartbeat is None:
        return False
    alive = is_alive(owner)
    return time.time() - heartbeat < STALE if alive is None else alive


def current_path(folder: Path) -> Path:
    """Where a folder is now: one that this process writes to may have been renamed since; any other is where it was."""
    lock = _locks.get(folder.resolve())
    return folder if lock is None else lock.current_path(folder)


def check_writer(folder: Path) -> None:
    """Raise `TrainingError` if this process has lost the lock of `folder` that it holds: it must write no more.

    Args:
        folder: as it was called when it was locked.
    """
    lock = _locks.get(folder.resolve())
    if lock is not None and not lock.current_path(folder).is_dir():
        raise TrainingError(f"{folder} is gone: it was removed, or moved to another disk; the run stops")
    if lock is not None and not lock.is_valid():
        raise TrainingError(
            f"another process has taken over {folder} while this one gave no heartbeat for {STALE:.0f} s; "
            "this one stops and writes nothing more"
        )


def _acquire(path: Path, new_owner: LockOwner) -> None:
    """Create the lock file, taking over from an owner who is dead.

    The content is written to another name first: a lock that exists always says whose it is, and after a power cut it
    is not an empty file (fsync).
    """
    new = path.with_name(f"{path.name}.{new_owner.token}.tmp")
    try:
        with open(new, "w") as file:
            file.write(json.dumps(asdict(new_owner)))
            file.flush()
            os.fsync(file.fileno())
        # A loop, since between any two looks the lock may be released, or taken by a third process.
        while not _link(new, path):
            owner = _read_owner(path)
            if owner is None and not os.path.lexists(path):
                continue  # released meanwhile
            if owner is None and _is_foreign(path):
                raise SettingError(f"{path} was not written by genn-eventprop; choose another folder, or remove it")
            alive = None if owner is None else is_alive(owner)
            if alive or (alive is None and _shows_heartbeat(path, owner)):
                raise SettingError(_busy_message(path, owner))
            _remove_stale(path, owner, new_owner)
    finally:
        new.unlink(missing_ok=True)


def _link(new: Path, path: Path) -> bool:
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


def _read_owner(path: Path) -> LockOwner | None:
    """Who is written in a lock file; None for one that is gone or damaged."""
    try:
        return LockOwner(**parsed(read_regular(path)))
    except (OSError, ValueError, TypeError):
        return None


def _is_foreign(path: Path) -> bool:
    """Whether a file under the name of a lock is another program's, and not one of ours that was cut, or zeroed by a
    power cut."""
    try:
        text = read_regular(path).rstrip(b"\0")
    except OSError:  # also a pipe, and a link to nowhere
        return os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode)
    try:
        return not set(json.loads(text)) <= {field.name for field in fields(LockOwner)}
    except (ValueError, TypeError, RecursionError):
        return not (_START.startswith(text) or text.startswith(_START))


_START = b'{"host": '


def _shows_heartbeat(path: Path, owner: LockOwner | None) -> bool:
    """Whether a lock shows a sign of life, or goes away, while it is watched; False after `STALE` seconds of none."""
    # Two clocks: that of the server, by which the file was touched, since machines disagree about the time; and our
    # own, which goes on when the server's stands still. Whichever reaches `STALE` first.
    first, began, announced = _last_heartbeat(path), time.monotonic(), False
    while first is not None:
        watched = time.monotonic() - began
        if max(_server_time(path) - first, watched) > STALE:
            return False
        if not announced:
            announced = True
            who = "somebody" if owner is None else f"process {owner.pid} on {owner.host}"
            say(f"note: {path.parent} was being written by {who}; waiting up to {STALE:.0f} s for a heartbeat")
        time.sleep(min(1.0, STALE / 20))
        now = _last_heartbeat(path)
        if now is None:
            return False
        if now != first:
            return True
    return False


def _last_heartbeat(path: Path) -> float | None:
    """Time of the last sign of life, by the clock of the file server; opening the file asks the server again."""
    try:
        with open_regular(path) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


def _server_time(path: Path) -> float:
    """The clock of the file server."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _remove_stale(path: Path, owner: LockOwner | None, new_owner: LockOwner) -> None:
    """Remove the lock of a dead owner, unless another process was faster.

    Two processes may find the same dead owner. Without a lock on the removal, the slower one could remove the lock that
    the faster one has made in between. The name of that second lock follows from the dead owner, so that it is free
    again for the next one even if its own process dies.
    """
    removal = path.with_name(f"{path.name}.{sha256(repr(owner).encode()).hexdigest()[:16]}")
    _acquire(removal, new_owner)
    try:
        if _read_owner(path) == owner:
            path.unlink(missing_ok=True)
    finally:
        removal.unlink(missing_ok=True)


def _busy_message(path: Path, owner: LockOwner | None) -> str:
    who = "another process" if owner is None else f"process {owner.pid} on {owner.host}"
    return f"{path.parent} is being written by {who}; a run folder has one writer: wait for it, or stop it first"

"""Archives from the network: interrupted downloads resume, and archives are unpacked whole or not at all."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import tarfile
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from tempfile import mkdtemp
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ...atomic import advice, is_full, write_errors
from ...errors import DataError
from ...output import stderr

BLOCK = 1 << 20
ATTEMPTS = 5
"""Connections in a row that may break; one that brought something does not count."""
AGENT = "genn_eventprop"


def fetch(url: str, path: Path, md5: str | None = None, progress: bool = True) -> Path:
    """Download `url` to `path`, by way of `path`.part, which a later call resumes if the server allows it.

    Raises:
        DataError: the connection broke (the part is kept), the disk is full, or the file is not the expected one.
    """
    if path.is_file() and (md5 is None or md5_of(path) == md5):
        return path
    if os.path.lexists(path):
        raise DataError(
            f"{path} exists and is not the file at {url} (its MD5 differs); move it elsewhere, or remove it, and it is "
            "downloaded"
        )
    part = path.with_name(f"{path.name}.part")
    left = ATTEMPTS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                if _receive(url, part, before, progress):
                    break
                problem: Exception = OSError("the connection was closed early")
            except (OSError, HTTPException) as error:
                if isinstance(error, URLError) or is_full(error):
                    raise  # no such host or page, or a full disk: trying again at once does not help
                problem = error
            left = ATTEMPTS if part.exists() and part.stat().st_size > before else left - 1
            if left == 0:
                raise problem
    except (OSError, HTTPException) as error:
        resume = f"; {part.stat().st_size} bytes are kept, and the next call resumes there" if part.exists() else ""
        how = f"; {advice(error)}" if isinstance(error, OSError) and is_full(error) else ""
        raise DataError(f"{url}: cannot be downloaded to {path} ({error}){how}{resume}") from error
    if md5 is not None and md5_of(part) != md5:
        part.unlink()
        raise DataError(
            f"{url}: the downloaded file is not the expected one (its MD5 differs) and was removed; download it again"
        )
    os.replace(part, path)
    return path


def _receive(url: str, part: Path, start: int, progress: bool) -> bool:
    """Append what is missing to `part`, or start again if the server cannot resume; whether it is complete."""
    from tqdm import tqdm

    request = Request(url, headers={"User-Agent": AGENT} | ({"Range": f"bytes={start}-"} if start else {}))
    try:
        response = urlopen(request, timeout=60)
    except HTTPError as error:
        if error.code == 416:  # nothing is left to send
            return True
        raise
    with response:
        start = start if response.status == 206 else 0
        total = start + int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        bar = tqdm(
            total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=not progress,
            dynamic_ncols=True, file=stderr(),
        )  # fmt: skip
        with bar, open(part, "ab" if start else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    return total is None or part.stat().st_size >= total


def _same(a: Path, b: Path) -> bool:
    """Whether two files, or folders and all in them, have the same contents."""
    if a.is_dir() and b.is_dir():
        names = {p.name for p in a.iterdir()}
        return names == {p.name for p in b.iterdir()} and all(_same(a / name, b / name) for name in names)
    return a.is_file() and b.is_file() and filecmp.cmp(a, b, shallow=False)


def md5_of(path: Path) -> str:
    """What the publishers of data sets compare with; no protection against forgery."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive; its files and folders appear in `folder` when all of them are unpacked."""
    with write_errors(folder, DataError):
        work = Path(mkdtemp(dir=folder, prefix=f".{archive.name}."))
    safe = {"filter": "data"} if not zipfile.is_zipfile(archive) and hasattr(tarfile, "data_filter") else {}
    try:
        shutil.unpack_archive(archive, work, **safe)  # type: ignore[arg-type]
        unpacked = sorted(work.iterdir())
        for new in unpacked:
            if os.path.lexists(folder / new.name) and not _same(new, folder / new.name):
                raise DataError(
                    f"{folder / new.name} is in the way of what {archive} holds, and has other contents; move it "
                    "elsewhere, or remove it"
                )
        for new in unpacked:
            if not (folder / new.name).exists():
                os.replace(new, folder / new.name)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError, shutil.ReadError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise DataError(f"{archive}: cannot be unpacked ({error}); {advice(error)}") from error
        raise DataError(
            f"{archive}: cannot be unpacked ({error}); delete it, and it will be downloaded again"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)

"""Downloads that break and go on, and archives that are unpacked whole or not at all; from a server on this machine."""

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from genn_eventprop.data.readers import download
from genn_eventprop.data.readers import tonic as tonic_sets
from genn_eventprop.errors import DataError
from support.extras import needs


class Server(ThreadingHTTPServer):
    """Sends `content` in pieces of `piece` bytes, then closes the connection; `ranges`: whether it goes on."""

    content, piece, ranges = b"", 1 << 30, True
    asked: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.piece])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/x.bin"


CONTENT = bytes(range(256)) * 40
MD5 = hashlib.md5(CONTENT).hexdigest()


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.content, server.piece = CONTENT, 4000
    path = download.fetch(url(server), tmp_path / "sub" / "x.bin", MD5, progress=False)
    assert path.read_bytes() == CONTENT and server.asked == [None, "bytes=4000-", "bytes=8000-"]
    assert [p.name for p in path.parent.iterdir()] == ["x.bin"]
    download.fetch(url(server), path, MD5, progress=False)
    assert len(server.asked) == 3  # it is there already


def test_downloads_resume_or_begin_anew(server: Server, tmp_path: Path) -> None:
    server.content, server.ranges = CONTENT, False
    (tmp_path / "x.bin.part").write_bytes(CONTENT[:100])
    assert download.fetch(url(server), tmp_path / "x.bin", MD5, progress=False).read_bytes() == CONTENT
    server.ranges = True
    (tmp_path / "y.bin.part").write_bytes(CONTENT[:100])
    assert download.fetch(url(server), tmp_path / "y.bin", MD5, progress=False).read_bytes() == CONTENT
    (tmp_path / "z.bin.part").write_bytes(CONTENT)
    assert download.fetch(url(server), tmp_path / "z.bin", MD5, progress=False).read_bytes() == CONTENT
    assert server.asked == ["bytes=100-", "bytes=100-", f"bytes={len(CONTENT)}-"]


def test_what_does_not_come_is_said_and_what_came_is_kept(server: Server, tmp_path: Path) -> None:
    server.content, server.piece = CONTENT, 0
    (tmp_path / "x.bin.part").write_bytes(CONTENT[:100])
    with pytest.raises(DataError, match="x.bin: cannot be downloaded to .* 100 bytes are kept, and the next"):
        download.fetch(url(server), tmp_path / "x.bin", MD5, progress=False)
    assert (tmp_path / "x.bin.part").stat().st_size == 100 and not (tmp_path / "x.bin").exists()
    server.piece = 1 << 30
    with pytest.raises(DataError, match="not the expected one .its MD5 differs. and was removed; download it again"):
        download.fetch(url(server), tmp_path / "x.bin", "0" * 32, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("Train/0/1.bin", "Train/1/2.bin"):
            file.writestr(name, CONTENT)
    download.unpack(tmp_path / "a.zip", tmp_path)
    assert (tmp_path / "Train" / "1" / "2.bin").read_bytes() == CONTENT
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[:5000] + bytes(9000) + whole[14000:])
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError, match="b.zip: cannot be unpacked .* delete it"):
        download.unpack(tmp_path / "b.zip", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Train", "a.zip", "b.zip", "sub"]


def test_a_tonic_set_is_fetched_unpacked_and_read(
    server: Server, tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = needs("tonic.datasets")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(data_dir / "fsdd" / "shd_layout_sample.h5", "shd_train.h5")
    server.content, server.piece = (tmp_path / "a.zip").read_bytes(), 300_000
    monkeypatch.setattr(datasets.SHD, "base_url", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(datasets.SHD, "train_md5", hashlib.md5(server.content).hexdigest())
    events = tonic_sets.load("shd", tmp_path / "data", progress=False, cache=tmp_path / "cache")
    assert len(events) == 20 and server.asked == [None, "bytes=300000-"]

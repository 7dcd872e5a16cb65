"""Files of event cameras: AEDAT 2, 3 and 4 of iniVation, EVT 2 and 3 (`.raw`) and DAT of Prophesee.

They are read here and by no library: of those on the package index, expelliarmus (EVT, DAT; no release since 2023, no
wheel for Python 3.12) is no longer kept, and the decoders of AEDAT 4 (aedat 2.3, faery 0.7, dv-processing 2.0) end the
process, or never end, on a file with a few changed bytes. Decompression is that of lz4 and zstandard (extra
``[camera]``). Sources: docs.inivation.com, "AEDAT File Formats"; docs.prophesee.ai, "Encoding formats" (EVT 2.0,
EVT 3.0) and "File formats" (DAT).

Every reader is a function from an open file and its first bytes to the size of its sensor and its events, piece by
piece; whatever is wrong with the bytes is a `ValueError`, which becomes a message with the name of the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...arguments import explain
from ...errors import DataError
from ...modelling.memory import check_fits
from ...output import say
from ..events.events import Events
from ..events.storage import open_file
from ..optional import require
from .aer import FIELDS
from .structured import Pieces, Sensor, flatten, in_order
from .structured import n_channels as channels_of

Size = tuple[int, int] | None
"""(width, height) of a sensor, None where the file does not say it."""
CHIPS = {
    "dvs128": (128, 128), "davis128": (128, 128), "davis208": (208, 192), "davis240": (240, 180),
    "davis346": (346, 260), "davis640": (640, 480), "dvxplorer": (640, 480),
}  # fmt: skip
"""Sizes of the cameras that AEDAT 2 and 3 name instead of telling a size."""
PACKET = 1 << 28
"""Most bytes of an unpacked packet of AEDAT 4, 17 million events: cameras write thousands. More is an error, so that a
small file cannot fill the memory."""
SUFFIXES = (".aedat", ".aedat4", ".raw", ".dat")
HEAD, BLOCK = 1 << 20, 1 << 20
"""Bytes that may hold the header of a file, and that are read at a time, of formats without packets."""
Found = tuple[Size, Iterator[np.ndarray]]


def read_camera(
    path: str | Path,
    size: Size = None,
    pool: int = 1,
    polarities: int = 2,
    sort: bool = False,
    n_channels: int | None = None,
) -> Events:
    """Events of one recording, a data set of one sample; the kind of file is told by its first bytes.

    channel = (p H + y) W + x, times in ms from the first event on.

    Args:
        size: (width, height) of the sensor, where the file does not say it. pool: side of the square of pixels that
            share a channel. polarities: 1: on and off events of a pixel share a channel. sort: put events that are out
            of order in order. n_channels: of the data that this recording is for: pool and polarities are those that
            give this number.

    Raises:
        DataError: absent, truncated, damaged or in another format; a sensor of unknown size, or that does not give
            `n_channels`; events out of order.

    Example:
        >>> from genn_eventprop.data.readers.camera import read_camera
        >>> events = read_camera(recording, pool=4)           # doctest: +SKIP
    """
    width, pieces = _flattened(path, size, pool, polarities, n_channels)
    parts, total = [(np.empty(0), np.empty(0, np.int32))], 0
    for part in pieces:
        parts.append(part)
        total += len(part[0])
        check_fits(24.0 * total, f"{path}: {total} events", "cut the recording", DataError)  # in pieces and as a whole
    times, channels = (np.concatenate(arrays) for arrays in zip(*parts))
    order: Any = np.flatnonzero(np.diff(times) < 0)
    if len(order) and not sort:
        raise DataError(
            f"{path}: event {order[0] + 1} is earlier than the one before it, as are {len(order) - 1} others; the "
            "clock was reset, or the file is damaged (sort=True puts events in order, if that is expected)"
        )
    order = np.argsort(times, kind="stable") if len(order) else slice(None)
    times = times[order]
    return Events(times - times[:1].sum(), channels[order], np.array([0, len(times)]), width, name=Path(path).stem)


def camera_pieces(
    path: str | Path, size: Size = None, pool: int = 1, polarities: int = 2, n_channels: int | None = None
) -> tuple[int, Pieces]:
    """(number of channels, times and channels piece by piece), of the recording that `read_camera` reads as a whole.

    Raises:
        DataError: see `read_camera`; some of them only once the pieces are read.
    """
    width, pieces = _flattened(path, size, pool, polarities, n_channels)
    return width, in_order(path, pieces)


def _flattened(
    path: str | Path, size: Size, pool: int, polarities: int, n_channels: int | None
) -> tuple[int, Pieces]:  # fmt: skip
    """(number of channels, times of the camera's clock and channels)."""
    found = structured_pieces(path)
    size_in_file = next(found)
    size = size or size_in_file
    if size is None:
        raise DataError(f"{path}: the file does not say the size of its sensor; give size=(width, height)")
    if n_channels is not None:
        pool, polarities = _pooling(size, n_channels, path)
    sensor: Sensor = (*size, polarities)

    def pieces() -> Pieces:
        number = 0
        for events in found:
            if len(events):
                yield flatten(events, sensor, str(path), pool=pool, first=number)
                number += len(events)

    return channels_of(sensor, pool), pieces()


def _pooling(size: tuple[int, int], n_channels: int, path: str | Path) -> tuple[int, int]:
    """The smallest side of pixel squares, and the polarities, that give so many channels."""
    for polarities in (2, 1):
        for pool in range(1, max(size) + 1):
            if channels_of((*size, polarities), pool) == n_channels:
                return pool, polarities
    raise DataError(f"{path}: a sensor of {size[0]} x {size[1]} pixels cannot give {n_channels} channels")


def structured_pieces(path: str | Path) -> Iterator[Any]:
    """The size of the sensor, then events piece by piece."""
    path = Path(path)
    with open_file(path) as file:
        try:
            head = file.read(HEAD)
            size, pieces = _reader_of(head)(file, head)
            yield from chain([size], pieces)
        except (ValueError, LookupError, struct.error, ElementTree.ParseError, OverflowError) as error:
            if isinstance(error, DataError):
                raise DataError(f"{path}: {error}") from None
            raise DataError(f"{path}: {error}; the file is truncated, damaged or in another format") from None


def _reader_of(head: bytes) -> Callable[[BufferedReader, bytes], Found]:
    """The reader for a file that begins with these bytes."""
    first = head[:16]
    for begin, read in ((b"#!AER-DAT2", _aedat2), (b"#!AER-DAT3", _aedat3), (b"#!AER-DAT4.0\r\n", _aedat4)):
        if first.startswith(begin):
            return read
    if first.startswith(b"%"):
        facts = _percent_header(head)[1]
        evt = re.match(r"(?:evt\s*)?(\d)(?:\.(\d))?", (facts.get("evt") or facts.get("format", "")).lower())
        if evt is None:
            return _dat
        version = evt[1] + ("" if (evt[2] or "0") == "0" else f".{evt[2]}")
        if version not in EVT:
            raise DataError(
                f"EVT {version} is not supported; convert the file to EVT 2 or 3 with Prophesee's own tools"
            )
        return EVT[version]
    raise ValueError("it is not an AEDAT 2 to 4, EVT or DAT file")


def _events(t: Any, x: Any, y: Any, p: Any) -> np.ndarray:
    events = np.empty(len(t), FIELDS)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events


def _length(file: BufferedReader) -> int:
    return file.seek(0, 2)


def _words(file: BufferedReader, start: int, dtype: str) -> Iterator[np.ndarray]:
    """The rest of a file as numbers."""
    rest, size = _length(file) - start, np.dtype(dtype).itemsize
    if rest % size:
        raise ValueError(f"{rest} bytes after the header are not a multiple of {size}")
    file.seek(start)
    while block := file.read(BLOCK):
        yield np.frombuffer(block, dtype)


class _Clock:
    """Unwraps a clock of `period` ticks that runs over: a fall by more than half of it is a new round."""

    def __init__(self, period: int) -> None:
        self.period, self.rounds = period, 0
        self.last: int | None = None

    def __call__(self, clock: np.ndarray) -> np.ndarray:
        """The next ticks, as those of one that goes on."""
        clock = clock.astype(np.int64)
        if not len(clock):
            return clock
        falls = np.diff(clock, prepend=clock[0] if self.last is None else self.last) < -self.period // 2
        rounds = self.rounds + np.cumsum(falls)
        self.last, self.rounds = int(clock[-1]), int(rounds[-1])
        return clock + self.period * rounds


# Prophesee: EVT and DAT


def _percent_header(raw: bytes) -> tuple[int, dict[str, str]]:
    """Where the header ends, and its lines `% name value`, names in lower case."""
    start, facts = 0, {}
    while raw[start : start + 1] == b"%":
        end = raw.find(b"\n", start)
        if end < 0:
            raise ValueError("its header has no end")
        line = raw[start:end].decode("latin-1").lstrip("% ").strip()
        start = end + 1
        name, _, value = line.partition(" ")
        facts[name.lower()] = value.strip()
        if line == "end":
            break
    for part in facts.get("format", "").split(";")[1:]:  # EVT3;height=720;width=1280
        name, _, value = part.partition("=")
        facts[name.lower()] = value
    if match := re.fullmatch(r"(\d+)x(\d+)", facts.get("geometry", "")):
        facts |= {"width": match[1], "height": match[2]}
    return start, facts


def _size(facts: dict[str, str]) -> Size:
    width, height = facts.get("width", ""), facts.get("height", "")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() and len(width + height) < 12 else None


def _latest(where: np.ndarray) -> np.ndarray:
    """(N,) index of the last True up to here, -1 before the first."""
    return np.maximum.accumulate(np.where(where, np.arange(len(where)), -1))


def _known(where: np.ndarray, values: np.ndarray, before: int) -> np.ndarray:
    """(N,) the value at the latest True up to here, `before` where there is none."""
    place = _latest(where)
    return np.where(place >= 0, values[place], before)


def _report(lost: int) -> None:
    if lost:
        say(f"note: {lost} words of events before the first time of the recording are left out")


def _evt2(file: BufferedReader, head: bytes) -> Found:
    """32-bit words: type (4 bits), then the high 28 bits of the time, or its low 6 bits, x (11) and y (11)."""
    start, facts = _percent_header(head)
    return _size(facts), _evt2_events(_words(file, start, "<u4"))


def _evt2_events(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    unwrapped, now, lost = _Clock(1 << 28), -1, 0
    for word in blocks:
        kind = word >> 28
        high, clock = kind == 8, np.zeros(len(word), np.int64)
        clock[high] = unwrapped(word[high] & 0xFFFFFFF) << 6
        clock = _known(high, clock, now)
        now, pixel = int(clock[-1]), kind <= 1
        lost += int(np.count_nonzero(pixel & (clock < 0)))
        pixel &= clock >= 0
        word = word[pixel]
        yield _events(clock[pixel] | (word >> 22 & 63), word >> 11 & 2047, word & 2047, kind[pixel])
    _report(lost)


def _evt3(file: BufferedReader, head: bytes) -> Found:
    """16-bit words: type (4 bits), then y, x, time, or a mask of 8 or 12 pixels from the last base x on."""
    start, facts = _percent_header(head)
    return _size(facts), _evt3_events(_words(file, start, "<u2"))


def _evt3_events(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    unwrapped, lost = _Clock(1 << 12), 0
    y = x = p = now = -1  # what the words before a block have said: row, base with its polarity, time
    tail = 0
    for block in blocks:
        word = block.astype(np.int32)
        kind, value = word >> 12, word & 4095
        address, polarity = (value & 2047).astype(np.int64), value >> 11
        high, clock = kind == 8, np.zeros(len(word), np.int64)
        clock[high] = unwrapped(value[high]) << 12
        clock = _known(high, clock, now)
        # a new high part starts with a low one of 0
        low = _known((kind == 6) | high, np.where(high, 0, value), tail)
        # a mask moves the base on by its width
        width = np.where(kind == 4, 12, np.where(kind == 5, 8, 0))
        before = np.cumsum(width) - width
        row, based = _known(kind == 0, address, y), kind == 3
        base, sign = _known(based, address - before, x), _known(based, polarity, p)
        timed = clock >= 0
        mask, single = (np.flatnonzero(found & timed) for found in (width > 0, kind == 2))
        lost += int(np.count_nonzero(((width > 0) | (kind == 2)) & ~timed))
        bits = np.unpackbits((value[mask] & (1 << width[mask]) - 1).astype("<u2").view(np.uint8), bitorder="little")
        of_mask, bit = np.nonzero(bits.reshape(-1, 16))
        of_mask = mask[of_mask]
        index = np.concatenate([single, of_mask])
        if (sign[of_mask] < 0).any() or (row[index] < 0).any():
            raise ValueError("an event comes before the first row, or a mask before its base")
        order = np.argsort(index, kind="stable")
        index = index[order]
        across = np.concatenate([address[single], base[of_mask] + before[of_mask] + bit])[order]
        if across.max(initial=0) >= 1 << 15:
            raise ValueError(f"a pixel is at x = {across.max()}")
        yield _events(
            clock[index] + low[index], across, row[index], np.concatenate([polarity[single], sign[of_mask]])[order]
        )
        y, p, now, tail = int(row[-1]), int(sign[-1]), int(clock[-1]), int(low[-1])
        x = int(base[-1] + before[-1] + width[-1])
    _report(lost)


EVT: dict[str, Callable[[BufferedReader, bytes], Found]] = {"2": _evt2, "3": _evt3}


def _dat(file: BufferedReader, head: bytes) -> Found:
    """Pairs of 32-bit words, time and address; two bytes before them are the type of events and their size."""
    start, facts = _percent_header(head)
    if len(head) < start + 2:
        raise ValueError("its header has no end")
    kind, size = head[start : start + 2]
    if kind not in (0, 12) or size != 8:
        raise ValueError(f"it holds events of type {kind} and {size} bytes, not of pixels (type 0 or 12, 8 bytes)")
    bits = ((0, 9), (9, 8), (17, 1)) if facts.get("version", "1") in ("0", "1") else ((0, 14), (14, 14), (28, 1))
    sizes = {9: (304, 240)}  # of version 1, which has no other sensor
    return _size(facts) or sizes.get(bits[0][1]), _dat_events(_words(file, start + 2, "<u8"), bits)


def _dat_events(blocks: Iterator[np.ndarray], bits: tuple[tuple[int, int], ...]) -> Iterator[np.ndarray]:
    unwrapped = _Clock(1 << 32)
    for block in blocks:
        time, word = block.view("<u4").reshape(-1, 2).T
        yield _events(unwrapped(time), *(word >> shift & (1 << width) - 1 for shift, width in bits))


# iniVation: AEDAT


def _hash_header(head: bytes) -> tuple[int, list[str]]:
    """Where the lines of text that begin with # end, and the lines; events may begin with the byte of # too."""
    start, lines = 0, list[str]()
    while line := re.compile(rb"#[\t -~]*\r?\n").match(head, start):
        lines.append(line[0].decode().strip())
        start = line.end()
        if lines[-1] == "#!END-HEADER":
            break
    return start, lines


def _chip(lines: list[str], mark: str) -> str:
    """The camera that a line names behind `mark`, "" if there is none that is known."""
    named = [line.lower() for line in lines if re.match(mark, line, re.IGNORECASE)]
    return next((chip for line in named for chip in CHIPS if chip in line), "")


def _aedat2(file: BufferedReader, head: bytes) -> Found:
    """Pairs of 32-bit words, big endian: an address whose bits depend on the camera, and the time."""
    start, lines = _hash_header(head)
    chip = _chip(lines, r"#\s*(AEChip|HardwareInterface)")
    if not chip:
        raise DataError(
            f"AEDAT 2 without the name of a known camera ({', '.join(CHIPS)}), which determines the bits of an "
            "address: add a line such as '# AEChip: DVS128' after the first one"
        )
    return CHIPS[chip], _aedat2_events(_words(file, start, ">u8"), chip == "dvs128")


def _aedat2_events(blocks: Iterator[np.ndarray], dvs128: bool) -> Iterator[np.ndarray]:
    unwrapped = _Clock(1 << 32)
    for block in blocks:
        word, time = block.astype("<u8").view("<u4").reshape(-1, 2)[:, ::-1].T
        if dvs128:
            pixel, bits = (word >> 15 & 1) == 0, ((1, 7), (8, 7), (0, 1))  # bit 15: an event of the connector
        else:  # bit 31: a sample of a frame; bit 10: an event of the connector or of the motion sensor
            pixel, bits = (word >> 31 | word >> 10 & 1) == 0, ((12, 10), (22, 9), (11, 1))
        yield _events(unwrapped(time)[pixel], *(word[pixel] >> shift & (1 << width) - 1 for shift, width in bits))


def _aedat3(file: BufferedReader, head: bytes) -> Found:
    """Packets of events of one type behind a header of 28 bytes; type 1 has the pixels."""
    start, lines = _hash_header(head)
    return CHIPS.get(_chip(lines, r"#Source")), _aedat3_events(file, start)


def _aedat3_events(file: BufferedReader, start: int) -> Iterator[np.ndarray]:
    header, end = struct.Struct("<hhiiiiii"), _length(file)
    while start < end:
        if start + header.size > end:
            raise ValueError("the header of its last packet is cut short")
        file.seek(start)
        kind, _, size, _, overflow, _, number, _ = header.unpack(file.read(header.size))
        start += header.size
        if size < 1 or number < 0 or overflow < 0 or start + size * number > end:
            raise ValueError(f"a packet at byte {start - header.size} claims {number} events of {size} bytes")
        if kind == 1:
            if size != 8:
                raise ValueError(f"events of pixels have {size} bytes, not 8")
            word, time = np.frombuffer(file.read(size * number), "<u4").reshape(-1, 2).T
            valid = (word & 1) == 1
            word, time = word[valid], time[valid].astype(np.int64) + (overflow << 31)
            yield _events(time, word >> 17, word >> 2 & 0x7FFF, word >> 1 & 1)
        start += size * number


def _aedat4(file: BufferedReader, head: bytes) -> Found:
    """Packets, each a FlatBuffer that may be compressed; the header is one too, and has an XML text of the streams."""
    start, length = len("#!AER-DAT4.0\r\n"), _length(file)
    (size,) = struct.unpack_from("<I", head, start)
    file.seek(start)
    table = _Table.root(file.read(min(4 + size, length - start)), b"IOHE")
    compression, packets, description = table.integer(0, "<i"), table.integer(1, "<q", -1), table.text(2)
    start += 4 + size
    stream, sensor = _stream_of_events(description)
    end = length if packets < 0 else packets
    if not start <= end <= length:
        raise ValueError(f"its table of packets should be at byte {packets}, but the file has {length} bytes")
    return sensor, _aedat4_events(_packets(file, start, end), stream, compression)


def _aedat4_events(packets: Iterator[tuple[int, bytes]], stream: int, compression: int) -> Iterator[np.ndarray]:
    for number, packet in packets:
        if number == stream:
            events = _Table.root(_unpacked(packet, compression), b"EVTS").structures(0, PIXEL)
            yield _events(events["t"], events["x"], events["y"], events["p"])


PIXEL = np.dtype({"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12],
                  "itemsize": 16})  # fmt: skip


def _packets(file: BufferedReader, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(number of the stream, bytes) of each packet."""
    while start < end:
        if start + 8 > end:
            raise ValueError("the header of its last packet is cut short")
        file.seek(start)
        number, size = struct.unpack("<ii", file.read(8))
        start += 8
        if size < 0 or start + size > end:
            raise ValueError(f"a packet at byte {start - 8} claims {size} bytes, but only {end - start} are left")
        yield number, file.read(size)
        start += size


def _stream_of_events(description: str) -> tuple[int, Size]:
    """The number of the first stream of events (EVTS), and the size of its sensor."""
    if "<!" in description:  # entities could grow without bound
        raise ValueError("the XML text of its header has declarations")
    for node in ElementTree.fromstring(description).iter("node"):
        facts = {each.get("key"): each.text or "" for each in node.findall("attr")}
        if facts.get("typeIdentifier") == "EVTS":
            sizes = {each.get("key"): each.text or "" for each in node.iter("attr")}
            name = node.get("name", "")
            if not name.isdecimal():
                raise ValueError(f"the number of its stream of events is {name!r}, which is not a number")
            return int(name), _size({"width": sizes.get("sizeX", ""), "height": sizes.get("sizeY", "")})
    raise DataError("there is no stream of events (EVTS) in it")


def _unpacked(packet: bytes, compression: int) -> bytes:
    """A packet as it was before its compression: none, LZ4 (1, 2) or Zstandard (3, 4); of at most `PACKET` bytes."""
    if compression == 0:
        return packet
    if compression in (1, 2):
        lz4 = require("lz4.frame", "compressed AEDAT 4 files", "camera")
        decompressor = lz4.LZ4FrameDecompressor()
        try:
            content: bytes = decompressor.decompress(packet, max_length=PACKET)
        except (RuntimeError, EOFError) as error:
            raise ValueError(f"a packet cannot be unpacked ({error})") from None
        whole = decompressor.eof
    elif compression in (3, 4):
        zstandard = require("zstandard", "compressed AEDAT 4 files", "camera")
        try:
            reader = zstandard.ZstdDecompressor().stream_reader(packet)
            content, whole = reader.read(PACKET), not reader.read(1)
        except (zstandard.ZstdError, MemoryError) as error:
            raise ValueError(f"a packet cannot be unpacked ({error})") from None
    else:
        raise ValueError(f"its compression {compression} is not known")
    if not whole:
        raise ValueError(f"a packet is cut short, or unpacks to more than {PACKET >> 20} MiB")
    return content


class _Table:
    """The root table of a FlatBuffer: all that AEDAT 4 needs of the format, with every place checked.

    A table begins with the way back to its list of fields (int32): the list has its own size in bytes and that of the
    table (uint16 each), then for each field its place in the table, 0 for one that has its default. A vector or text is
    a way forward (uint32) to its length and contents. Source: flatbuffers.dev, "FlatBuffer Internals".
    """

    def __init__(self, data: bytes, place: int) -> None:
        self.data, self.place = data, place
        self.fields = place - self._number("<i", place)
        self.size = self._number("<H", self.fields)

    @classmethod
    def root(cls, data: bytes, kind: bytes) -> _Table:
        """Of a buffer with its size in front, and the four letters of its `kind`."""
        if data[8:12] != kind:
            raise ValueError(f"{data[8:12]!r} where {kind!r} is expected")
        size, place = struct.unpack_from("<II", data)
        if 4 + size > len(data):
            raise ValueError(f"a buffer says {size} bytes, there are {len(data) - 4}")
        return cls(data[: 4 + size], 4 + place)

    def _number(self, form: str, place: int) -> int:
        if place < 0:  # would count from the end
            raise ValueError(f"a FlatBuffer points {-place} bytes in front of itself")
        return int(struct.unpack_from(form, self.data, place)[0])

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = self._number("<H", self.fields + entry) if entry + 2 <= self.size else 0
        return self.place + offset if offset else None

    def integer(self, field: int, form: str, default: int = 0) -> int:
        """A number of this form."""
        place = self._place(field)
        return default if place is None else self._number(form, place)

    def _vector(self, field: int, itemsize: int) -> tuple[int, int]:
        """Where a vector begins, and its length."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = place + self._number("<I", place)
        length = self._number("<I", start)
        if start + 4 + length * itemsize > len(self.data):
            raise ValueError(f"a FlatBuffer says {length} items, there are {len(self.data) - start - 4} bytes")
        return start + 4, length

    def text(self, field: int) -> str:
        """A text, "" by default."""
        start, length = self._vector(field, 1)
        return self.data[start : start + length].decode("utf-8", "replace")

    def structures(self, field: int, dtype: np.dtype) -> np.ndarray:
        """A vector of structures."""
        start, length = self._vector(field, dtype.itemsize)
        return np.frombuffer(self.data, dtype, length, start)


explain(globals(), ("read_camera", "camera_pieces"), DataError)

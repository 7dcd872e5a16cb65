"""Files of event cameras: AEDAT 2, 3 and 4 of iniVation, EVT 2 and 3 (`.raw`) and DAT of Prophesee.

They are read here and by no library: of those on the package index, expelliarmus (EVT, DAT; no release since 2023, no
wheel for Python 3.12) is no longer kept, and the decoders of AEDAT 4 (aedat 2.3, faery 0.7, dv-processing 2.0) end the
process, or never end, on a file with a few changed bytes. Decompression is that of lz4 and zstandard (extra
``[camera]``). Sources: docs.inivation.com, "AEDAT File Formats"; docs.prophesee.ai, "Encoding formats" (EVT 2.0,
EVT 3.0) and "File formats" (DAT).

Every reader is a function from the bytes of a file to its events and the size of its sensor; whatever is wrong with the
bytes is a `ValueError`, which `read_camera` turns into a message with the name of the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
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
from .structured import Sensor, flatten
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
    events, size_in_file = read_structured(path)
    size = size or size_in_file
    if size is None:
        raise DataError(f"{path}: the file does not say the size of its sensor; give size=(width, height)")
    if n_channels is not None:
        pool, polarities = _pooling(size, n_channels, path)
    sensor: Sensor = (*size, polarities)
    times, channels = flatten(events, sensor, str(path), pool=pool)
    order: Any = np.flatnonzero(np.diff(times) < 0)
    if len(order) and not sort:
        raise DataError(
            f"{path}: event {order[0] + 1} is earlier than the one before it, as are {len(order) - 1} others; the "
            "clock was reset, or the file is damaged (sort=True puts events in order, if that is expected)"
        )
    order = np.argsort(times, kind="stable") if len(order) else slice(None)
    times = times[order]
    return Events(
        times - times[:1].sum(), channels[order], np.array([0, len(times)]), channels_of(sensor, pool),
        name=Path(path).stem,
    )  # fmt: skip


def _pooling(size: tuple[int, int], n_channels: int, path: str | Path) -> tuple[int, int]:
    """The smallest side of pixel squares, and the polarities, that give so many channels."""
    for polarities in (2, 1):
        for pool in range(1, max(size) + 1):
            if channels_of((*size, polarities), pool) == n_channels:
                return pool, polarities
    raise DataError(f"{path}: a sensor of {size[0]} x {size[1]} pixels cannot give {n_channels} channels")


def read_structured(path: str | Path) -> tuple[np.ndarray, Size]:
    """The events of a file as a structured array (t in microseconds, x, y, p), and the size of its sensor.

    Raises:
        DataError: absent, truncated, damaged or in another format.
    """
    path = Path(path)
    with open_file(path) as file:
        raw = file.read()
    try:
        return _reader_of(raw)(raw)
    except (ValueError, LookupError, struct.error, ElementTree.ParseError, OverflowError) as error:
        if isinstance(error, DataError):
            raise DataError(f"{path}: {error}") from None
        raise DataError(f"{path}: {error}; the file is truncated, damaged or in another format") from None


def _reader_of(raw: bytes) -> Callable[[bytes], tuple[np.ndarray, Size]]:
    """The reader for a file that begins with these bytes."""
    first = raw[:16]
    for begin, read in ((b"#!AER-DAT2", _aedat2), (b"#!AER-DAT3", _aedat3), (b"#!AER-DAT4.0\r\n", _aedat4)):
        if first.startswith(begin):
            return read
    if first.startswith(b"%"):
        facts = _percent_header(raw)[1]
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
    check_fits(13.0 * len(t), f"{len(t)} events", "cut the recording", DataError)
    events = np.empty(len(t), FIELDS)
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    return events


def _words(raw: bytes, start: int, dtype: str) -> np.ndarray:
    """The rest of a file as numbers."""
    rest, size = len(raw) - start, np.dtype(dtype).itemsize
    if rest % size:
        raise ValueError(f"{rest} bytes after the header are not a multiple of {size}")
    return np.frombuffer(raw, dtype, offset=start)


def _unwrapped(clock: np.ndarray, period: int) -> np.ndarray:
    """A clock of `period` ticks that runs over, as one that goes on: a fall by more than half of it is a new round."""
    clock = clock.astype(np.int64)
    return clock + period * np.concatenate([[0], np.cumsum(np.diff(clock) < -period // 2)])[: len(clock)]


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


def _with_time(words: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """(N,) those of `words` that come after a word of time; the others have none, and are reported."""
    if lost := int(np.count_nonzero(words & (clock < 0))):
        say(f"note: {lost} words of events before the first time of the recording are left out")
    return words & (clock >= 0)


def _evt2(raw: bytes) -> tuple[np.ndarray, Size]:
    """32-bit words: type (4 bits), then the high 28 bits of the time, or its low 6 bits, x (11) and y (11)."""
    start, facts = _percent_header(raw)
    word = _words(raw, start, "<u4")
    kind = word >> 28
    high = kind == 8
    clock = np.zeros(len(word), np.int64)
    clock[high] = _unwrapped(word[high] & 0xFFFFFFF, 1 << 28) << 6
    place = _latest(high)
    pixel = _with_time(kind <= 1, place)
    word, kind = word[pixel], kind[pixel]
    return _events(clock[place[pixel]] | (word >> 22 & 63), word >> 11 & 2047, word & 2047, kind), _size(facts)


def _evt3(raw: bytes) -> tuple[np.ndarray, Size]:
    """16-bit words: type (4 bits), then y, x, time, or a mask of 8 or 12 pixels from the last base x on."""
    start, facts = _percent_header(raw)
    word = _words(raw, start, "<u2").astype(np.int32)
    kind, value = word >> 12, word & 4095
    address, polarity = value & 2047, value >> 11
    row, base, low, high = (_latest(kind == k) for k in (0, 3, 6, 8))
    clock = np.zeros(len(word), np.int64)
    clock[kind == 8] = _unwrapped(value[kind == 8], 1 << 12) << 12
    time = clock[high] + np.where(low > high, value[low], 0)  # a new high part starts with a low one of 0
    # a mask moves the base on by its width
    width = np.where(kind == 4, 12, np.where(kind == 5, 8, 0))
    before = np.cumsum(width) - width
    mask = _with_time(width > 0, high)
    bits = np.unpackbits((value[mask] & (1 << width[mask]) - 1).astype("<u2").view(np.uint8), bitorder="little")
    of_mask, bit = np.nonzero(bits.reshape(-1, 16))
    of_mask = np.flatnonzero(mask)[of_mask]
    single = np.flatnonzero(_with_time(kind == 2, high))
    if (base[of_mask] < 0).any() or (row[of_mask] < 0).any() or (row[single] < 0).any():
        raise ValueError("an event comes before the first row, or a mask before its base")
    index = np.concatenate([single, of_mask])
    order = np.argsort(index, kind="stable")
    x = np.concatenate([address[single], address[base[of_mask]] + before[of_mask] - before[base[of_mask]] + bit])[order]
    p = np.concatenate([polarity[single], polarity[base[of_mask]]])[order]
    if x.max(initial=0) >= 1 << 15:
        raise ValueError(f"a pixel is at x = {x.max()}")
    return _events(time[index[order]], x, address[row[index[order]]], p), _size(facts)


EVT: dict[str, Callable[[bytes], tuple[np.ndarray, Size]]] = {"2": _evt2, "3": _evt3}


def _dat(raw: bytes) -> tuple[np.ndarray, Size]:
    """Pairs of 32-bit words, time and address; two bytes before them are the type of events and their size."""
    start, facts = _percent_header(raw)
    if len(raw) < start + 2:
        raise ValueError("its header has no end")
    kind, size = raw[start : start + 2]
    if kind not in (0, 12) or size != 8:
        raise ValueError(f"it holds events of type {kind} and {size} bytes, not of pixels (type 0 or 12, 8 bytes)")
    time, word = _words(raw, start + 2, "<u8").view("<u4").reshape(-1, 2).T
    bits = ((0, 9), (9, 8), (17, 1)) if facts.get("version", "1") in ("0", "1") else ((0, 14), (14, 14), (28, 1))
    x, y, p = (word >> shift & (1 << width) - 1 for shift, width in bits)
    sizes = {9: (304, 240)}  # of version 1, which has no other sensor
    return _events(_unwrapped(time, 1 << 32), x, y, p), _size(facts) or sizes.get(bits[0][1])


# iniVation: AEDAT


def _hash_header(raw: bytes) -> tuple[int, list[str]]:
    """Where the lines of text that begin with # end, and the lines; events may begin with the byte of # too."""
    start, lines = 0, list[str]()
    while line := re.compile(rb"#[\t -~]*\r?\n").match(raw, start):
        lines.append(line[0].decode().strip())
        start = line.end()
        if lines[-1] == "#!END-HEADER":
            break
    return start, lines


def _chip(lines: list[str], mark: str) -> str:
    """The camera that a line names behind `mark`, "" if there is none that is known."""
    named = [line.lower() for line in lines if re.match(mark, line, re.IGNORECASE)]
    return next((chip for line in named for chip in CHIPS if chip in line), "")


def _aedat2(raw: bytes) -> tuple[np.ndarray, Size]:
    """Pairs of 32-bit words, big endian: an address whose bits depend on the camera, and the time."""
    start, lines = _hash_header(raw)
    chip = _chip(lines, r"#\s*(AEChip|HardwareInterface)")
    if not chip:
        raise DataError(
            f"AEDAT 2 without the name of a known camera ({', '.join(CHIPS)}), which determines the bits of an "
            "address: add a line such as '# AEChip: DVS128' after the first one"
        )
    word, time = _words(raw, start, ">u8").astype("<u8").view("<u4").reshape(-1, 2)[:, ::-1].T
    if chip == "dvs128":
        pixel, bits = (word >> 15 & 1) == 0, ((1, 7), (8, 7), (0, 1))  # bit 15: an event of the connector
    else:  # bit 31: a sample of a frame; bit 10: an event of the connector or of the motion sensor
        pixel, bits = (word >> 31 | word >> 10 & 1) == 0, ((12, 10), (22, 9), (11, 1))
    x, y, p = (word[pixel] >> shift & (1 << width) - 1 for shift, width in bits)
    return _events(_unwrapped(time, 1 << 32)[pixel], x, y, p), CHIPS[chip]


def _aedat3(raw: bytes) -> tuple[np.ndarray, Size]:
    """Packets of events of one type behind a header of 28 bytes; type 1 has the pixels."""
    start, lines = _hash_header(raw)
    parts, header = list[np.ndarray](), struct.Struct("<hhiiiiii")
    while start < len(raw):
        if start + header.size > len(raw):
            raise ValueError("the header of its last packet is cut short")
        kind, _, size, _, overflow, _, number, _ = header.unpack_from(raw, start)
        start += header.size
        if size < 1 or number < 0 or overflow < 0 or start + size * number > len(raw):
            raise ValueError(f"a packet at byte {start - header.size} claims {number} events of {size} bytes")
        if kind == 1:
            if size != 8:
                raise ValueError(f"events of pixels have {size} bytes, not 8")
            word, time = np.frombuffer(raw, "<u4", 2 * number, start).reshape(-1, 2).T
            valid = (word & 1) == 1
            word, time = word[valid], time[valid].astype(np.int64) + (overflow << 31)
            parts.append(_events(time, word >> 17, word >> 2 & 0x7FFF, word >> 1 & 1))
        start += size * number
    chip = _chip(lines, r"#Source")
    return np.concatenate(parts) if parts else np.empty(0, FIELDS), CHIPS.get(chip)


def _aedat4(raw: bytes) -> tuple[np.ndarray, Size]:
    """Packets, each a FlatBuffer that may be compressed; the header is one too, and has an XML text of the streams."""
    start = len("#!AER-DAT4.0\r\n")
    head = _Table.root(raw[start:], b"IOHE")
    compression, table, description = head.integer(0, "<i"), head.integer(1, "<q", -1), head.text(2)
    start += 4 + struct.unpack_from("<I", raw, start)[0]
    stream, size = _stream_of_events(description)
    end = len(raw) if table < 0 else table
    if not start <= end <= len(raw):
        raise ValueError(f"its table of packets should be at byte {table}, but the file has {len(raw)} bytes")
    parts, total = list[np.ndarray](), 0
    for number, packet in _packets(raw, start, end):
        if number == stream:
            events = _Table.root(_unpacked(packet, compression), b"EVTS").structures(0, PIXEL)
            total += len(events)
            check_fits(29.0 * total, f"{total} events", "cut the recording", DataError)
            parts.append(_events(events["t"], events["x"], events["y"], events["p"]))
    return np.concatenate(parts) if parts else np.empty(0, FIELDS), size


PIXEL = np.dtype({"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12],
                  "itemsize": 16})  # fmt: skip


def _packets(raw: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(number of the stream, bytes) of each packet."""
    while start < end:
        if start + 8 > end:
            raise ValueError("the header of its last packet is cut short")
        number, size = struct.unpack_from("<ii", raw, start)
        start += 8
        if size < 0 or start + size > end:
            raise ValueError(f"a packet at byte {start - 8} claims {size} bytes, but only {end - start} are left")
        yield number, raw[start : start + size]
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


explain(globals(), ("read_camera", "read_structured"), DataError)

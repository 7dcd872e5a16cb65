"""Files of event cameras, written byte by byte from the published formats, for tests of their readers.

Every writer takes (N,) arrays t (microseconds, ascending), x, y, p, and (width, height), and returns the bytes.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


def some_events(rng: np.random.Generator, n: int, size: tuple[int, int], last: int = 5_000_000) -> Arrays:
    """Random events, many at the same time."""
    t = np.sort(rng.integers(0, last, n)) // 50 * 50 if n else np.empty(0, np.int64)
    return {"t": t, "x": rng.integers(0, size[0], n), "y": rng.integers(0, size[1], n), "p": rng.integers(0, 2, n)}


def rows(events: Arrays) -> list[tuple[int, int, int, int]]:
    return list(zip(*(events[k].tolist() for k in "txyp")))


def evt2(events: Arrays, size: tuple[int, int]) -> bytes:
    words, high = [], -1
    for t, x, y, p in rows(events):
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 28 | high & 0xFFFFFFF)
        words.append(p << 28 | (t & 63) << 22 | x << 11 | y)
        words.append(10 << 28 | 1)  # a trigger, which is no event of a pixel
    return f"% evt 2.0\n% geometry {size[0]}x{size[1]}\n% end\n".encode() + struct.pack(f"<{len(words)}I", *words)


def evt3(events: Arrays, size: tuple[int, int]) -> bytes:
    """Events of one time, row and polarity that lie in order are written as masks of 12, 12 and 8 pixels.

    The high part of the time is written for each of its steps, as cameras do: it runs over every 17 s.
    """
    words: list[int] = []
    high = low = row = -1
    i, all_rows = 0, rows(events)
    while i < len(all_rows):
        t, x, y, p = all_rows[i]
        if t >> 12 != high:
            words += [8 << 12 | step & 4095 for step in range(high + 1, (t >> 12) + 1)]
            high, low = t >> 12, 0
        if t & 4095 != low:
            low = t & 4095
            words.append(6 << 12 | low)
        if y != row:
            row = y
            words.append(y)
        group = [x]
        while i + len(group) < len(all_rows):
            other = all_rows[i + len(group)]
            if (other[0], other[2], other[3]) != (t, y, p) or not group[-1] < other[1] < x + 32:
                break
            group.append(other[1])
        i += len(group)
        if len(group) == 1:
            words.append(2 << 12 | p << 11 | x)
            continue
        words.append(3 << 12 | p << 11 | x)
        bits = sum(1 << (each - x) for each in group)
        words += [4 << 12 | bits & 4095, 4 << 12 | bits >> 12 & 4095, 5 << 12 | bits >> 24]
    head = f"% evt 3.0\n% format EVT3;height={size[1]};width={size[0]}\n% end\n"
    return head.encode() + struct.pack(f"<{len(words)}H", *words)


def dat(events: Arrays, size: tuple[int, int]) -> bytes:
    body = b"".join(struct.pack("<II", t & 0xFFFFFFFF, x | y << 14 | p << 28) for t, x, y, p in rows(events))
    head = f"% Data file containing CD events.\n% Version 2\n% Width {size[0]}\n% Height {size[1]}\n"
    return head.encode() + bytes([12, 8]) + body


def aedat2(events: Arrays, size: tuple[int, int]) -> bytes:
    body = b""
    for t, x, y, p in rows(events):
        body += struct.pack(">II", y << 22 | x << 12 | p << 11, t & 0xFFFFFFFF)
        body += struct.pack(">II", 1 << 31 | x << 12, t & 0xFFFFFFFF)  # a sample of a frame
    return b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n" + body


def aedat2_dvs128(events: Arrays, size: tuple[int, int]) -> bytes:
    body = b"".join(struct.pack(">II", y << 8 | x << 1 | p, t & 0xFFFFFFFF) for t, x, y, p in rows(events))
    return b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n" + body


def aedat3(events: Arrays, size: tuple[int, int]) -> bytes:
    """Packets of 7 events, the last of which is not valid, and one of another type after each."""
    body, every = b"", rows(events)
    # the clock has 31 bits: a packet has one number of its rounds
    chunks: list[list[Any]] = []
    for each in every:
        if not chunks or len(chunks[-1]) == 6 or chunks[-1][0][0] >> 31 != each[0] >> 31:
            chunks.append([])
        chunks[-1].append(each)
    for chunk in chunks:
        over = chunk[0][0] >> 31
        content = b"".join(
            struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF) for t, x, y, p in chunk
        ) + struct.pack("<II", 0, chunk[-1][0] & 0x7FFFFFFF)
        n = len(chunk) + 1
        body += struct.pack("<hhiiiiii", 1, 1, 8, 4, over, n, n, n - 1) + content
        body += struct.pack("<hhiiiiii", 0, 1, 8, 4, over, 1, 1, 1) + bytes(8)
    return b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n" + body


def _buffer(kind: bytes, inside: bytes, places: list[int], after: bytes) -> bytes:
    """size, root, kind, list of fields, table (`inside` after its first 4 bytes; fields at `places`), `after`."""
    n_fields = 4 + 2 * len(places)
    padding = -n_fields % 4
    root = 8 + padding + n_fields
    fields = bytes(padding) + struct.pack(f"<HH{len(places)}H", n_fields, 4 + len(inside), *places)
    content = struct.pack("<I", root) + kind + fields + struct.pack("<i", n_fields) + inside + after
    return struct.pack("<I", len(content)) + content


def aedat4(events: Arrays, size: tuple[int, int], pack: Any = None, compression: int = 0) -> bytes:
    """Packets of 100 events; `pack` compresses bytes. Beside the events there is a stream of triggers."""
    xml = (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        '<node name="0"><attr key="typeIdentifier" type="string">TRIG</attr></node>'
        '<node name="1"><attr key="typeIdentifier" type="string">EVTS</attr><node name="info">'
        f'<attr key="sizeX" type="int">{size[0]}</attr><attr key="sizeY" type="int">{size[1]}</attr>'
        "</node></node></node></dv>"
    ).encode()
    pack = pack or (lambda content: content)
    # fields: compression at 4, place of the table of packets at 8, the way to the text at 16
    inside = struct.pack("<iqI", compression, -1, 4)
    head = b"#!AER-DAT4.0\r\n" + _buffer(b"IOHE", inside, [4, 8, 16], struct.pack("<I", len(xml)) + xml)
    body, every = b"", rows(events)
    for start in range(0, len(every), 100):
        chunk = every[start : start + 100]
        content = b"".join(struct.pack("<qhhB3x", t, x, y, p) for t, x, y, p in chunk)
        packet = pack(_buffer(b"EVTS", struct.pack("<I", 4), [4], struct.pack("<I", len(chunk)) + content))
        trigger = pack(_buffer(b"TRIG", struct.pack("<I", 4), [4], struct.pack("<I", 0)))
        body += struct.pack("<ii", 1, len(packet)) + packet + struct.pack("<ii", 0, len(trigger)) + trigger
    return head + body


FORMATS = {
    "evt2": (evt2, ".raw"), "evt3": (evt3, ".raw"), "dat": (dat, ".dat"), "aedat2": (aedat2, ".aedat"),
    "aedat2_dvs128": (aedat2_dvs128, ".aedat"), "aedat3": (aedat3, ".aedat"), "aedat4": (aedat4, ".aedat4"),
}  # fmt: skip
"""name -> (writer, suffix)"""
SIZES = {"aedat2": (240, 180), "aedat3": (240, 180), "aedat2_dvs128": (128, 128)}
"""Of cameras that are named in the file, which does not say a size."""

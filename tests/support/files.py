"""Picture files in kinds that OpenCV does not write."""

from __future__ import annotations

import itertools
import struct
import zlib
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import cv2
import numpy as np

from detector_grpc.vision.tags import Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[np.generic]

# How a picture is stored so that the EXIF orientation makes it upright again (EXIF 2.3, 4.6.4, tag 0x0112).
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


def encoded(suffix: str, pixels: Pixels, *flags: int) -> bytes:
    """What OpenCV writes of an RGB, RGBA or grey picture."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    stored = pixels if pixels.ndim == 2 else pixels[:, :, order[pixels.shape[2]]]
    done, file = cv2.imencode(suffix, np.ascontiguousarray(stored), flags)
    assert done
    return file.tobytes()


def exif(orientation: int, byte_order: str = ">") -> bytes:
    """EXIF data of three tags, the second of which is the orientation."""
    maker, software = (struct.pack(f"{byte_order}HHI4s", tag, 2, 4, b"abc\0") for tag in (0x010F, 0x0131))
    tags = maker + struct.pack(f"{byte_order}HHIHH", 0x0112, 3, 1, orientation, 0) + software
    return _MARKS[byte_order] + struct.pack(f"{byte_order}HIH", 42, 8, 3) + tags + bytes(4)


def jpeg_with(file: bytes, *payloads: bytes) -> bytes:
    """The JPEG with an APP1 segment for each payload."""
    return file[:2] + b"".join(struct.pack(">HH", 0xFFE1, len(each) + 2) + each for each in payloads) + file[2:]


# Where each pass begins, and how far apart its pixels are: rows, columns.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def zlib_bomb(unpacked_mib: int) -> bytes:
    """Zeros, packed; a thousandth of their size, and made in no time."""
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    mib = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + mib * unpacked_mib


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png_with(file: bytes, *chunks: bytes) -> bytes:
    """The PNG with these chunks behind its header."""
    end_of_header = 33
    return file[:end_of_header] + b"".join(chunks) + file[end_of_header:]


def png(width: int, height: int, color_type: int, rows: bytes, *chunks: bytes, bits: int = 8, adam7: int = 0) -> bytes:
    """A PNG of rows that are filtered already."""
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, adam7)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    )


def interlaced_rows(pixels: Pixels) -> bytes:
    """The rows of the seven passes of Adam7, not filtered."""
    starts_and_steps = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    passes = [pixels[top::down, left::across] for top, left, down, across in starts_and_steps]
    return b"".join(b"\0" + row.tobytes() for each in passes if each.size for row in each)


def webp(*chunks: bytes) -> bytes:
    """A WebP of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)


def webp_canvas(width: int, height: int) -> bytes:
    return webp_chunk(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def webp_frame(file: bytes, width: int, height: int, x: int = 0, y: int = 0) -> bytes:
    """A frame of an animation, of the chunk of a still picture."""
    sides = (x // 2, y // 2, width - 1, height - 1)
    return webp_chunk(b"ANMF", b"".join(each.to_bytes(3, "little") for each in sides) + bytes(4) + file[12:])


def webp_with(file: bytes, width: int, height: int, *chunks: bytes) -> bytes:
    """The simple WebP with these chunks behind the picture."""
    return webp(webp_canvas(width, height), file[12:], *chunks)


def bmp(
    width: int, height: int, bits: int, rows: bytes, compression: int = 0, palette: bytes = b"", masks: bytes = b"",
    header_bytes: int = 40,
) -> bytes:  # fmt: skip
    """A BMP; of negative height if the first row is the top one."""
    colors = len(palette) // 4
    header = struct.pack(
        "<IiiHHIIiiII", header_bytes, width, height, 1, bits, compression, len(rows), 2835, 2835, colors, 0
    )
    header += masks
    header += bytes(max(0, header_bytes - len(header)))
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows


def bmp_rows(pixels: Pixels) -> bytes:
    """Rows of BMP from the bottom to the top, padded to four bytes."""
    return b"".join(row.tobytes() + bytes(-row.nbytes % 4) for row in pixels[::-1])


_MARKS = {"<": b"II", ">": b"MM"}
_SHORT, _LONG = 3, 4


def tiff_of(tags: Mapping[int, Sequence[int]], pieces: Iterable[bytes], byte_order: str = "<") -> bytes:
    """A TIFF of these strips or tiles, followed by its tags.

    Args:
        tags: Values by number; those of where the pieces are may be left out.
        pieces: What the strips or tiles consist of.
        byte_order: As `struct` writes it.
    """
    pieces = list(pieces)
    offsets = list(itertools.accumulate((len(each) for each in pieces), initial=8))
    places = (Tag.TILE_OFFSETS, Tag.TILE_BYTES) if Tag.TILE_WIDTH in tags else (Tag.STRIP_OFFSETS, Tag.STRIP_BYTES)
    everything = {places[0]: offsets[:-1], places[1]: [len(each) for each in pieces], **tags}
    values_at, entries, values = offsets[-1] + 2 + 12 * len(everything) + 4, b"", b""
    for tag, numbers in sorted(everything.items()):
        kind, form = (_LONG, "I") if tag in places else (_SHORT, "H")
        field = packed = struct.pack(f"{byte_order}{len(numbers)}{form}", *numbers)
        if len(packed) > 4:
            field, values = struct.pack(f"{byte_order}I", values_at + len(values)), values + packed
        entries += struct.pack(f"{byte_order}HHI", tag, kind, len(numbers)) + field.ljust(4, b"\0")
    header = _MARKS[byte_order] + struct.pack(f"{byte_order}HI", 42, offsets[-1])
    return header + b"".join(pieces) + struct.pack(f"{byte_order}H", len(everything)) + entries + bytes(4) + values


def tiff(
    pixels: Pixels,
    tags: Mapping[int, Sequence[int]] = MappingProxyType({}),
    *,
    photometric: int = 2,
    rows: int = 0,
    tile: tuple[int, int] | None = None,
    planar: bool = False,
    packed: Callable[[bytes], bytes] = bytes,
    byte_order: str = "<",
) -> bytes:
    """A TIFF of a picture, uint8 or uint16 (H, W) or (H, W, C).

    Args:
        pixels: As they are stored.
        tags: Goes before what follows from the rest.
        photometric: How colours are meant.
        rows: Of a strip; 0: all.
        tile: Width and height of a tile; None: strips.
        planar: Whether each channel lies on its own.
        packed: Compresses a strip or tile.
        byte_order: As `struct` writes it.
    """
    stored = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(byte_order))
    height, width, samples = np.atleast_3d(stored).shape
    channels = [stored[:, :, index] for index in range(samples)] if planar else [stored]
    cut = {Tag.TILE_WIDTH: tile[:1], Tag.TILE_HEIGHT: tile[1:]} if tile else {Tag.ROWS_PER_STRIP: [rows or height]}
    everything = {
        Tag.WIDTH: [width],
        Tag.HEIGHT: [height],
        Tag.BITS_PER_SAMPLE: [pixels.itemsize * 8] * samples,
        Tag.PHOTOMETRIC: [photometric],
        Tag.SAMPLES_PER_PIXEL: [samples],
        Tag.PLANAR_CONFIGURATION: [2 if planar else 1],
        **cut,
        **tags,
    }
    cut_up = partial(_strips, rows=rows or height) if tile is None else partial(_tiles, width=tile[0], height=tile[1])
    pieces = itertools.chain.from_iterable(map(cut_up, channels))
    return tiff_of(everything, map(packed, pieces), byte_order)


def _strips(pixels: Pixels, rows: int) -> Iterator[bytes]:
    for top in range(0, pixels.shape[0], rows):
        yield pixels[top : top + rows].tobytes()


def _tiles(pixels: Pixels, width: int, height: int) -> Iterator[bytes]:
    margins = [(0, -pixels.shape[0] % height), (0, -pixels.shape[1] % width)]
    padded = np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - 2))
    for top in range(0, padded.shape[0], height):
        for left in range(0, padded.shape[1], width):
            yield padded[top : top + height, left : left + width].tobytes()

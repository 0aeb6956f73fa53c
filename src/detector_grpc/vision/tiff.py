"""What has to be known of a TIFF file (TIFF 6.0) before it is handed to a decoder."""

from __future__ import annotations

import re

from detector_grpc.errors import ImageUndecodable
from detector_grpc.vision.tags import Tag, Tags, first, read_tags, with_tags

SIGNATURE = re.compile(rb"II\*\0|MM\0\*")

_NO_COMPRESSION = 1
# None, LZW, Deflate by its two numbers, PackBits.
_COMPRESSIONS = frozenset({_NO_COMPRESSION, 5, 8, 32946, 32773})
_WITH_PREDICTOR = frozenset({5, 8, 32946})
_NO_PREDICTOR, _HORIZONTAL_DIFFERENCES = 1, 2

_PALETTE = 3
# Bits of a sample by photometric interpretation and samples of a pixel.
_BITS = {
    (0, 1): (1, 8, 16),  # grey, 0 is white
    (0, 2): (8, 16),  # with alpha
    (1, 1): (1, 8, 16),  # grey, 0 is black
    (1, 2): (8, 16),  # with alpha
    (2, 3): (8, 16),  # RGB
    (2, 4): (8, 16),  # with alpha
    (_PALETTE, 1): (4, 8),
    (5, 4): (8,),  # CMYK
}
_WITH_ALPHA = frozenset({(0, 2), (1, 2), (2, 4)})
# libtiff would multiply colours with an alpha of any other kind.
_ASSOCIATED_ALPHA = 1
_UNSIGNED, _UNDEFINED = 1, 4  # formats of samples; the second is read like the first
_TOGETHER, _SEPARATE = 1, 2  # where the samples of a pixel are

# A tile may be larger than the picture, but not by much, for it is allocated whole.
_TILE_PIXELS = 1 << 20
# libtiff 4.7 refuses tiles without compression unless their size is a multiple of this.
_TILE_BYTES = 1024


def size(data: bytes) -> tuple[int, int]:
    """Width and height of the first page.

    Raises:
        ImageUndecodable: The tags are damaged, or it is a thumbnail.
    """
    tags = read_tags(data)
    if first(tags, Tag.SUBFILE_TYPE, 0) & 1:
        raise ImageUndecodable("the first page of the TIFF picture is only a thumbnail, as in cameras' raw files")
    return first(tags, Tag.WIDTH, 0), first(tags, Tag.HEIGHT, 0)


def exif(data: bytes) -> bytes:
    """EXIF data are a TIFF file, which this is itself."""
    return data


def harmless(data: bytes) -> bytes:
    """The file with other tags: those of the first page that its colours depend on, checked, and no more.

    So libtiff meets nothing that could keep it busy, or that it gets wrong.

    Raises:
        ImageUndecodable: The samples or the compression are of a kind that is not taken, or the pixels are not where
            the tags say.
    """
    tags = read_tags(data)
    return with_tags(data, {**_samples(tags), **_compression(tags), **_pixels(data, tags)})


def _samples(tags: Tags) -> Tags:
    photometric, samples = first(tags, Tag.PHOTOMETRIC, -1), first(tags, Tag.SAMPLES_PER_PIXEL, 1)
    bits, formats = tags.get(Tag.BITS_PER_SAMPLE, (1,)), tags.get(Tag.SAMPLE_FORMAT, (_UNSIGNED,))
    allowed = _BITS.get((photometric, samples), ())
    if len(set(bits)) != 1 or bits[0] not in allowed or not {*formats} <= {_UNSIGNED, _UNDEFINED}:
        raise ImageUndecodable(
            f"the TIFF picture has {samples} samples of {bits[0]} bits, sample format {formats[0]}, photometric "
            f"interpretation {photometric}; taken are unsigned grey (1, 8 or 16 bits), RGB (8 or 16 bits), both with "
            "or without alpha, palettes (4 or 8 bits) and CMYK (8 bits)"
        )
    kept: Tags = {
        Tag.PHOTOMETRIC: (photometric,),
        Tag.SAMPLES_PER_PIXEL: (samples,),
        Tag.BITS_PER_SAMPLE: bits[:1] * samples,
        Tag.FILL_ORDER: (first(tags, Tag.FILL_ORDER, 1),),
    }
    if (photometric, samples) in _WITH_ALPHA:
        kept[Tag.EXTRA_SAMPLES] = (_ASSOCIATED_ALPHA,)
    if photometric == _PALETTE:
        kept[Tag.COLOR_MAP] = tags.get(Tag.COLOR_MAP, ())
        if len(kept[Tag.COLOR_MAP]) != 3 << bits[0]:
            raise ImageUndecodable(f"the TIFF picture has no palette of {1 << bits[0]} colours")
    return kept


def _compression(tags: Tags) -> Tags:
    compression = first(tags, Tag.COMPRESSION, _NO_COMPRESSION)
    if compression not in _COMPRESSIONS:
        raise ImageUndecodable(
            f"the TIFF picture is in compression {compression}; "
            "taken are none (1), LZW (5), Deflate (8) and PackBits (32773)"
        )
    predictor = first(tags, Tag.PREDICTOR, _NO_PREDICTOR) if compression in _WITH_PREDICTOR else _NO_PREDICTOR
    if predictor == _NO_PREDICTOR:
        return {Tag.COMPRESSION: (compression,)}
    if predictor != _HORIZONTAL_DIFFERENCES or first(tags, Tag.BITS_PER_SAMPLE, 1) % 8:
        raise ImageUndecodable(f"the TIFF picture has predictor {predictor}, which does not go with its samples")
    return {Tag.COMPRESSION: (compression,), Tag.PREDICTOR: (predictor,)}


def _pixels(data: bytes, tags: Tags) -> Tags:
    """Where the pixels are: in tiles, or in strips, which are as wide as the picture and end with it."""
    width, height = size(data)
    tiled = Tag.TILE_WIDTH in tags
    if tiled:
        piece_width, piece_height = first(tags, Tag.TILE_WIDTH, 0), first(tags, Tag.TILE_HEIGHT, 0)
        kept: Tags = {Tag.TILE_WIDTH: (piece_width,), Tag.TILE_HEIGHT: (piece_height,)}
        offsets_tag, lengths_tag = Tag.TILE_OFFSETS, Tag.TILE_BYTES
    else:
        piece_width, piece_height = width, min(first(tags, Tag.ROWS_PER_STRIP, 0) or height, height)
        kept = {Tag.ROWS_PER_STRIP: (piece_height,)}
        offsets_tag, lengths_tag = Tag.STRIP_OFFSETS, Tag.STRIP_BYTES
    if not 0 < piece_width * piece_height <= max(width * height, _TILE_PIXELS):
        raise ImageUndecodable(f"the TIFF picture has tiles of {piece_width} x {piece_height} pixels")

    planar, samples = first(tags, Tag.PLANAR_CONFIGURATION, _TOGETHER), first(tags, Tag.SAMPLES_PER_PIXEL, 1)
    planes, samples = (samples, 1) if planar == _SEPARATE else (1, samples)
    across, down = -(-width // piece_width), -(-height // piece_height)
    count = planes * across * down
    offsets, lengths = tags.get(offsets_tag, ())[:count], tags.get(lengths_tag, ())[:count]
    if len(offsets) == count and first(tags, Tag.COMPRESSION, _NO_COMPRESSION) == _NO_COMPRESSION:
        row_bytes = -(-piece_width * samples * first(tags, Tag.BITS_PER_SAMPLE, 1) // 8)
        whole, last = row_bytes * piece_height, row_bytes * (height - (down - 1) * piece_height)
        lengths = (whole,) * count if tiled else ((whole,) * (down - 1) + (last,)) * planes
        if tiled and whole % _TILE_BYTES:
            raise ImageUndecodable(
                f"the TIFF picture has tiles of {whole} bytes without compression, taken are multiples of {_TILE_BYTES}"
            )
    inside = (0 < length <= len(data) - offset for offset, length in zip(offsets, lengths, strict=False))
    if min(len(offsets), len(lengths)) < count or not all(inside):
        raise ImageUndecodable(f"the TIFF picture of {len(data)} bytes has not as many pixels as its tags say")
    return kept | {
        Tag.WIDTH: (width,),
        Tag.HEIGHT: (height,),
        Tag.PLANAR_CONFIGURATION: (planar,),
        offsets_tag: offsets,
        lengths_tag: lengths,
    }

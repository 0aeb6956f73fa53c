"""The symbols themselves: what zxing-cpp makes of random contents, as modules of ink and paper."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zxingcpp
from zxingcpp import BarcodeFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CLASS_NAMES = ("qr_code", "data_matrix", "aztec", "pdf417", "linear_barcode")

UPPER = string.ascii_uppercase + string.digits
ANY = string.ascii_letters + string.digits + " -./:"
LENGTHS = (300, 120, 50, 20, 9, 4)  # most characters, tried in turn until the symbol is small enough


@dataclass(frozen=True)
class Symbol:
    """One code, not yet printed.

    Attributes:
        class_name: One of CLASS_NAMES.
        modules: uint8 [rows, columns], 255 is ink and 0 is paper. A linear code has one row.
        text: What it says; people can read it beside linear codes.
    """

    class_name: str
    modules: NDArray[np.uint8]
    text: str


def draw_symbol(rng: np.random.Generator, class_name: str, most: float) -> Symbol:
    """Return a random symbol with at most `most` modules along its longest side, or else the smallest that was made."""
    smallest: Symbol | None = None
    for length in LENGTHS:
        symbol = _MAKERS[class_name](rng, length)
        if smallest is None or max(symbol.modules.shape) < max(smallest.modules.shape):
            smallest = symbol
        if max(smallest.modules.shape) <= most:
            break
    assert smallest is not None  # noqa: S101 - LENGTHS is not empty
    return smallest


def random_text(rng: np.random.Generator, shortest: int, longest: int, alphabet: str = ANY) -> str:
    """Return a text whose length is uniform between the two."""
    places = rng.integers(len(alphabet), size=rng.integers(shortest, longest + 1))
    return "".join(alphabet[place] for place in places)


def _content(rng: np.random.Generator, longest: int) -> str:
    """Short contents are as likely as long ones: the length is log-uniform."""
    length = int(np.exp(rng.uniform(0, np.log(longest + 1))))
    return random_text(rng, length, length)


def _modules(content: str, symbology: BarcodeFormat, **options: object) -> NDArray[np.uint8]:
    image = zxingcpp.create_barcode(content, symbology, **options).to_image(add_hrt=False, add_quiet_zones=False)
    return np.asarray(255 - np.array(image), np.uint8)


def _qr_code(rng: np.random.Generator, longest: int) -> Symbol:
    if rng.random() < 0.06:
        text = _digits(rng, int(rng.integers(3, 9)))
        return Symbol("qr_code", _modules(text, BarcodeFormat.MicroQRCode), text)
    text = _content(rng, longest)
    return Symbol("qr_code", _modules(text, BarcodeFormat.QRCode, ec_level="LMQH"[rng.integers(4)]), text)


def _data_matrix(rng: np.random.Generator, longest: int) -> Symbol:
    text = _content(rng, longest)
    options: dict[str, Any] = {"force_square": True} if rng.random() < 0.8 else {}
    return Symbol("data_matrix", _modules(text, BarcodeFormat.DataMatrix, **options), text)


def _aztec(rng: np.random.Generator, longest: int) -> Symbol:
    text = _content(rng, longest)
    options: dict[str, Any] = {"ec_level": ("10%", "50%", "75%")[rng.integers(3)]} if rng.random() < 0.3 else {}
    return Symbol("aztec", _modules(text, BarcodeFormat.Aztec, **options), text)


def _pdf417(rng: np.random.Generator, longest: int) -> Symbol:
    text = _content(rng, longest)
    options: dict[str, Any] = {"rows": int(rng.integers(8, 31))} if rng.random() < 0.5 else {}
    return Symbol("pdf417", _modules(text, BarcodeFormat.PDF417, **options), text)


def _linear(rng: np.random.Generator, longest: int) -> Symbol:
    symbology, text = _LINEAR[rng.integers(len(_LINEAR))](rng, min(longest, 22))
    modules = _modules(text, symbology)
    return Symbol("linear_barcode", modules[len(modules) // 2][None], text)  # one row has no guard bars and no digits


def _digits(rng: np.random.Generator, count: int) -> str:
    return random_text(rng, count, count, string.digits)


def _checked(rng: np.random.Generator, count: int) -> str:
    """Digits of which the last is the check digit of EAN, UPC and GTIN (GS1 General Specifications, 7.9)."""
    digits = _digits(rng, count - 1)
    total = sum(int(digit) * (1 if place % 2 else 3) for place, digit in enumerate(reversed(digits)))
    return f"{digits}{-total % 10}"


def _upc_e(rng: np.random.Generator) -> str:
    """Seven digits as zero suppression may leave them: before a last digit of 5 to 9 there is no 0."""
    return f"0{_digits(rng, 4)}{random_text(rng, 1, 1, '123456789')}{random_text(rng, 1, 1, '01256789')}"


# Retail codes are the most common ones; each entry is as likely as any other.
_LINEAR: tuple[Callable[[np.random.Generator, int], tuple[BarcodeFormat, str]], ...] = (
    *3 * (lambda rng, _: (BarcodeFormat.EAN13, _checked(rng, 13)),),
    lambda rng, _: (BarcodeFormat.EAN8, _checked(rng, 8)),
    lambda rng, _: (BarcodeFormat.UPCA, _checked(rng, 12)),
    lambda rng, _: (BarcodeFormat.UPCE, _upc_e(rng)),
    *3 * (lambda rng, longest: (BarcodeFormat.Code128, random_text(rng, 3, max(3, longest))),),
    *2 * (lambda rng, longest: (BarcodeFormat.Code39, random_text(rng, 2, max(2, longest // 2), UPPER)),),
    lambda rng, longest: (BarcodeFormat.Code93, random_text(rng, 3, max(3, longest // 2), UPPER)),
    lambda rng, _: (BarcodeFormat.ITF, _digits(rng, 2 * int(rng.integers(2, 9)))),
    lambda rng, _: (BarcodeFormat.Codabar, f"A{_digits(rng, int(rng.integers(3, 13)))}B"),
    lambda rng, _: (BarcodeFormat.DataBarOmni, _checked(rng, 14)),
    lambda rng, _: (BarcodeFormat.DataBarLtd, f"0{_digits(rng, 12)}"),
    lambda rng, _: (BarcodeFormat.DataBarExp, f"(01){_checked(rng, 14)}"),
)

_MAKERS: dict[str, Callable[[np.random.Generator, int], Symbol]] = {
    "qr_code": _qr_code,
    "data_matrix": _data_matrix,
    "aztec": _aztec,
    "pdf417": _pdf417,
    "linear_barcode": _linear,
}

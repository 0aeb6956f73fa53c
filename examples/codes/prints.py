"""A symbol on its way to paper: cells of ink, their faults, and what is printed around them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from symbols import draw_symbol, random_text
from textures import FONTS, write

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from symbols import Symbol

LEAST_MODULE_PX = {"linear_barcode": 0.5, "pdf417": 0.55}  # below it a code is only grey; larger contents are not tried
LEAST_MATRIX_PX = 1.0


@dataclass(frozen=True)
class Print:
    """One printed code.

    Attributes:
        class_name: One of symbols.CLASS_NAMES.
        ink: uint8 [height, width], 255 is full ink.
        box: Around the modules alone, x1, y1, x2, y2 in px of `ink`.
        module_px: Width of the finest module.
    """

    class_name: str
    ink: NDArray[np.uint8]
    box: tuple[float, float, float, float]
    module_px: float

    def turned(self) -> Print:
        """Return it turned by a quarter, clockwise."""
        x1, y1, x2, y2 = self.box
        high = self.ink.shape[0]
        return replace(self, ink=cv2.rotate(self.ink, cv2.ROTATE_90_CLOCKWISE), box=(high - y2, x1, high - y1, x2))


def print_code(rng: np.random.Generator, class_name: str, side_px: float, sharpness: float) -> Print:
    """Print a random code whose longest side is `side_px` px of ink; `sharpness` of these make one of the picture."""
    least = LEAST_MODULE_PX.get(class_name, LEAST_MATRIX_PX) * (1 if rng.random() < 0.3 else 1.6)
    symbol = draw_symbol(rng, class_name, side_px / sharpness / least)
    count = max(symbol.modules.shape)
    cell = max(1, int(np.ceil(side_px / count)))
    modules = _cells(rng, symbol, cell)
    modules = _faults(rng, symbol, modules, cell)
    ink, box = _surroundings(rng, symbol, modules, cell)
    scale = side_px / max(modules.shape)
    if scale < 1:
        size = (max(1, round(ink.shape[1] * scale)), max(1, round(ink.shape[0] * scale)))
        across, down = size[0] / ink.shape[1], size[1] / ink.shape[0]
        ink = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
        box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    return Print(class_name, ink, box, cell * min(1.0, scale))


def _cells(rng: np.random.Generator, symbol: Symbol, cell: int) -> NDArray[np.uint8]:
    """The modules, each `cell` px wide; bars and rows get a height."""
    rows, columns = symbol.modules.shape
    high = rows * cell
    if symbol.class_name == "linear_barcode":
        high = max(4, int(columns * cell * rng.choice([rng.uniform(0.1, 0.35), rng.uniform(0.25, 0.8)])))
    elif symbol.class_name == "pdf417" and rng.random() < 0.6:
        high = max(4, int(high * rng.uniform(0.6, 2)))
    return cv2.resize(symbol.modules, (columns * cell, high), interpolation=cv2.INTER_NEAREST)


def _faults(rng: np.random.Generator, symbol: Symbol, modules: NDArray[np.uint8], cell: int) -> NDArray[np.uint8]:
    """What printers, punches and designers do to modules."""
    chance = rng.random()
    high, wide = modules.shape
    if symbol.class_name == "qr_code" and chance < 0.12 and wide > 60:
        middle, reach = (wide // 2, high // 2), int(wide * rng.uniform(0.07, 0.13))
        cv2.rectangle(modules, (middle[0] - reach, middle[1] - reach), (middle[0] + reach, middle[1] + reach), 0, -1)
        cv2.circle(modules, middle, int(reach * 0.75), int(rng.integers(90, 256)), -1, cv2.LINE_AA)
    elif symbol.class_name not in {"linear_barcode", "pdf417"} and chance > 0.85 and cell >= 4:
        dot = np.zeros((cell, cell), np.uint8)
        if rng.random() < 0.6:
            cv2.circle(dot, (cell // 2, cell // 2), max(1, int(cell * rng.uniform(0.3, 0.5))), 255, -1)
        else:
            dot[: cell - 1 - cell // 8, : cell - 1 - cell // 8] = 255
        modules = cv2.bitwise_and(modules, np.tile(dot, (high // cell, wide // cell)))
    elif chance < 0.35 and cell >= 3:
        spread = cv2.dilate if rng.random() < 0.6 else cv2.erode
        down = 1 if symbol.class_name == "linear_barcode" else 2
        modules = spread(modules, np.ones((down, 2), np.uint8))
    return np.asarray(modules, np.uint8)


def _surroundings(
    rng: np.random.Generator, symbol: Symbol, modules: NDArray[np.uint8], cell: int
) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """Quiet zone, text for people, guard bars, frame; and where in them the modules lie."""
    high, wide = modules.shape
    is_linear = symbol.class_name == "linear_barcode"
    quiet = int(cell * (rng.uniform(4, 14) if is_linear else rng.choice([rng.uniform(0.5, 2.5), rng.uniform(1, 5)])))
    above = int(cell * rng.uniform(0, 8)) if is_linear else quiet
    has_text = rng.random() < (0.7 if is_linear else 0.12)
    text_high = max(8, int(wide * rng.uniform(0.06, 0.14))) if has_text else 0
    is_above = has_text and rng.random() < 0.15
    top = above + (text_high if is_above else 0)
    ink = np.zeros((high + 2 * above + text_high, wide + 2 * quiet), np.uint8)
    ink[top : top + high, quiet : quiet + wide] = modules
    if has_text:
        text = symbol.text if is_linear else random_text(rng, 4, 16)
        size = min(text_high * 0.7, wide / max(1, len(text)) * 1.05)
        below = top + high + text_high * 0.85
        baseline = text_high * 0.85 if is_above else below
        left = quiet + max(0.0, (wide - len(text) * size * 0.9) / 2)
        write(ink, text, left, baseline, size, 255, int(FONTS[rng.integers(len(FONTS))]))
        if is_linear and not is_above and rng.random() < 0.4:  # the box stays on the bars proper
            guard, end = 3 * cell, top + high + text_high // 2
            for start in (0, (wide - guard) // 2, wide - guard):
                ink[top + high : end, quiet + start : quiet + start + guard] = modules[-1, start : start + guard]
    if rng.random() < 0.06:
        cv2.rectangle(ink, (1, 1), (ink.shape[1] - 2, ink.shape[0] - 2), 255, max(1, cell // 2))
    return ink, (quiet, top, quiet + wide, top + high)


def text_block(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Lines of text as ink, uint8 [height, width]: addresses, ingredients, prices."""
    ink: NDArray[Any] = np.zeros((height, width), np.uint8)
    size = float(np.exp(rng.uniform(np.log(5), np.log(max(6, height / 2.5)))))
    font, baseline = int(FONTS[rng.integers(len(FONTS))]), size * 1.2
    while baseline < height:
        write(ink, random_text(rng, 3, max(4, int(width / size))), size * 0.3, baseline, size, 255, font)
        baseline += size * rng.uniform(1.4, 1.9)
    return ink

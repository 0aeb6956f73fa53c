"""Draw sample pictures of machine-readable codes, together with the exact boxes of the codes.

No photo and no artwork of others is used: textures come from seeded noise, shapes and text from OpenCV, the codes
from zxing-cpp. A scene is a flat surface with sheets laid on it, seen by a slightly tilted camera; drawing at twice the
size and shrinking at the end keeps every edge smooth. The same seed gives the same files, byte for byte, as long as
the versions of NumPy, OpenCV and zxing-cpp (3 or later) and the kind of processor are the same.

    python examples/codes/draw_scenes.py --out pictures
"""

from __future__ import annotations

import argparse
import json
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import zxingcpp
from geometry import corners, project, warp
from textures import clouds
from zxingcpp import BarcodeFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Colour = tuple[int, int, int]  # blue, green, red: 0 to 255


WIDTH, HEIGHT = 1024, 768  # pixels of a finished picture
ZOOM = 2  # surface pixels for one picture pixel
JPEG_QUALITY = 90
WHITE, PAPER, INK, GREY = (250, 252, 252), (232, 242, 246), (46, 40, 38), (140, 134, 130)
RED, TEAL, NAVY, MUSTARD, SAGE = (64, 70, 196), (134, 132, 42), (112, 70, 40), (72, 168, 226), (120, 158, 128)

SYMBOLOGIES: dict[str, tuple[str, BarcodeFormat, dict[str, Any]]] = {
    "qr": ("qr_code", BarcodeFormat.QRCode, {"ec_level": "M"}),
    "data matrix": ("data_matrix", BarcodeFormat.DataMatrix, {"force_square": True}),
    "aztec": ("aztec", BarcodeFormat.Aztec, {}),
    "pdf417": ("pdf417", BarcodeFormat.PDF417, {}),
    "ean-13": ("linear_barcode", BarcodeFormat.EAN13, {}),
    "code 128": ("linear_barcode", BarcodeFormat.Code128, {}),
}


@dataclass
class Sheet:
    """Something flat with a print on it: BGR uint8 pixels, a uint8 mask of its shape, and the codes printed."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    codes: list[tuple[str, NDArray[np.float32]]] = field(default_factory=list)  # class name, corners [4, 2] in pixels

    @classmethod
    def rounded(cls, width: int, height: int, colour: Colour, radius: int = 12) -> Sheet:
        """Return an empty sheet with round corners; lengths in pixels."""
        mask = np.zeros((height, width), np.uint8)
        cut = radius // 2 + 1  # a thick outline has round corners
        inner = (cut, cut), (width - 1 - cut, height - 1 - cut)
        cv2.rectangle(mask, *inner, 255, -1)
        cv2.rectangle(mask, *inner, 255, 2 * cut, cv2.LINE_AA)
        return cls(np.full((height, width, 3), colour, np.uint8), mask)

    def bar(self, x: int, y: int, width: int, height: int, colour: Colour) -> None:
        """Fill a rectangle; what reaches beyond the sheet is cut off."""
        self.pixels[max(y, 0) : y + height, max(x, 0) : x + width] = colour

    def disc(self, x: int, y: int, radius: int, colour: Colour) -> None:
        """Fill a circle."""
        cv2.circle(self.pixels, (x, y), radius, colour, -1, cv2.LINE_AA)

    def text(self, x: int, y: int, words: str, size: int, colour: Colour = INK, *, bold: bool = False) -> None:
        """Print one line whose baseline starts at (x, y), with capitals about `size` pixels high."""
        thickness = 2 if bold else 1
        cv2.putText(self.pixels, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size / 22, colour, thickness, cv2.LINE_AA)

    def code(self, kind: str, content: str, x: int, y: int, width: int, height: int = 0, **options: object) -> None:
        """Print a code at most `width` pixels wide, its top left corner at (x, y); linear bars are `height` high."""
        name, symbology, usual = SYMBOLOGIES[kind]
        barcode = zxingcpp.create_barcode(content, symbology, **(usual | options))
        modules = np.array(barcode.to_image(add_quiet_zones=False))
        cell = max(1, width // modules.shape[1])  # pixels: whole ones, so that all modules are equally wide
        if height:
            modules = modules[len(modules) // 2][None]  # one row: no guard bars, no digits
        drawn = np.kron(modules, np.ones((height or cell, cell), np.uint8))
        high, wide = drawn.shape
        area = self.pixels[y : y + high, x : x + wide]
        area[drawn < 128] = (30, 26, 26)
        self.codes.append((name, corners(x, y, x + wide, y + high)))

    def shade(self, left: float, middle: float, right: float) -> Sheet:
        """Change the brightness from side to side, by factors, as the curve of a can or the turn of a box does."""
        factors = np.interp(np.linspace(0, 2, self.pixels.shape[1]), [0, 1, 2], [left, middle, right])
        self.pixels = np.clip(self.pixels * factors[None, :, None], 0, 255).astype(np.uint8)
        return self


class Scene:
    """A surface and the codes that lie on it, with the camera that looks at it.

    The surface is float32 BGR in 0 to 1, at ZOOM times the size of the picture. Its far end looks narrower by `tilt`, a
    part of its width. The light falls on a point given as parts of the width and the height.
    """

    def __init__(self, surface: NDArray[Any], tilt: float, light: tuple[float, float]) -> None:
        self.surface = surface.astype(np.float32)
        self.tilt = tilt
        self.light = light
        self.codes: list[tuple[str, NDArray[np.float32]]] = []

    def lay(self, sheet: Sheet, x: float, y: float, width: float, angle: float = 0, lift: float = 3) -> None:
        """Put a sheet with its middle at (x, y), turned clockwise by degrees; a higher lift casts a longer shadow."""
        high, wide = sheet.mask.shape
        scale, turn = width * ZOOM / wide, np.deg2rad(angle)
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        matrix = np.array([[cos, -sin, x * ZOOM], [sin, cos, y * ZOOM], [0, 0, 1]])
        matrix = matrix @ np.array([[1, 0, -wide / 2], [0, 1, -high / 2], [0, 0, 1]])
        size = self.surface.shape[1], self.surface.shape[0]
        mask = warp(sheet.mask, matrix, *size).astype(np.float32)[..., None] / 255
        for reach in (0.5, 2.0):  # a dark line where it touches, and a wide soft shadow
            away = reach * lift * ZOOM
            moved = warp(sheet.mask, np.array([[1, 0, away * 0.6], [0, 1, away], [0, 0, 1]]) @ matrix, *size)
            soft = cv2.GaussianBlur(moved, (0, 0), away * 0.8).astype(np.float32)[..., None] / 255
            self.surface *= 1 - np.float32(0.3) * soft
        colour = warp(sheet.pixels, matrix, *size).astype(np.float32) / 255
        self.surface += (colour - self.surface) * mask
        self.codes += [(name, project(box, matrix)) for name, box in sheet.codes]

    def photograph(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[dict[str, object]]]:
        """Return the BGR uint8 picture, with the noise of a camera, and its boxes in pixels."""
        tilt, light = self.tilt, self.light
        high, wide = self.surface.shape[:2]
        seen = corners(tilt * wide / 2, tilt * high / 3, wide * (1 - tilt / 2), high)
        seen[2:] = [[wide, high], [0, high]]
        matrix = cv2.getPerspectiveTransform(corners(0, 0, wide, high), seen)
        grow = 1 / (1 - tilt)  # so that no edge of the surface comes into view
        matrix = np.array([[grow, 0, (1 - grow) * wide / 2], [0, grow, (1 - grow) * high], [0, 0, 1]]) @ matrix
        image = cv2.resize(warp(self.surface, matrix, wide, high), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)

        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        far = np.hypot(columns / WIDTH - light[0], (rows / HEIGHT - light[1]) * 0.8)[..., None]
        image = image * (1.1 - 0.5 * far**1.5) * (1 + (0.6 - far) * np.array([-0.04, 0.0, 0.04]))  # warm near the light
        grain = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH), np.float32), (0, 0), 0.6)[..., None]
        image = cv2.GaussianBlur(image, (0, 0), 0.5) + 0.012 * grain
        boxes: list[dict[str, object]] = []
        for name, box in self.codes:
            points = project(box, matrix) / ZOOM
            bounds = [*points.min(axis=0), *points.max(axis=0)]
            boxes.append({"class_name": name, "bbox": [round(float(bound), 1) for bound in bounds]})
        return np.asarray(np.clip(image * 255 + 0.5, 0, 255), np.uint8), boxes


def wood(rng: np.random.Generator, plank: int, light: Colour, dark: Colour) -> NDArray[np.float32]:
    """Return a surface of planks, each `plank` surface pixels high, with grain between two colours."""
    width, height = WIDTH * ZOOM, HEIGHT * ZOOM
    bend = clouds(rng, width, height, 3, 4) * 60
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    rings = cv2.remap(clouds(rng, width, height, 2, 36), columns, rows + bend, cv2.INTER_LINEAR)
    fibres = clouds(rng, width, height, 10, 300)
    number = np.arange(height) // plank
    tone = rng.uniform(-0.16, 0.16, number.max() + 1)[number][:, None]
    mix = np.clip(0.55 * rings + 0.3 * fibres + 0.05 + tone, 0, 1)[..., None]
    gap = 1 - 0.55 * np.exp(-((((np.arange(height) % plank - plank / 2) / (plank / 2)) ** 2 - 1) ** 2) * 3000)
    surface = np.array(light) * (1 - mix) + np.array(dark) * mix
    return np.asarray(surface / 255 * gap[:, None, None], np.float32)


def cardboard(rng: np.random.Generator, width: int, height: int, colour: Colour) -> NDArray[np.uint8]:
    """Return the brown of a cardboard box, uint8 BGR: flutes that shine through, fibres and stains."""
    flutes = np.sin(np.arange(height) * (2 * np.pi / 22))[:, None] * 0.012
    stains = (clouds(rng, width, height, 4, 3) - 0.5) * 0.1 + (clouds(rng, width, height, 160, 60) - 0.5) * 0.06
    return np.asarray(np.clip(np.array(colour) * (1 + flutes + stains)[..., None], 0, 255), np.uint8)


def cup() -> Sheet:
    """Return a cup of coffee on its saucer, seen from above."""
    sheet = Sheet(np.full((600, 600, 3), WHITE, np.uint8), np.zeros((600, 600), np.uint8))
    cv2.circle(sheet.mask, (300, 300), 290, 255, -1, cv2.LINE_AA)
    for radius, grey in ((290, 224), (278, 241), (215, 208), (205, 235)):
        sheet.disc(300, 300, radius, (grey, grey, grey))
    sheet.pixels = cv2.GaussianBlur(sheet.pixels, (0, 0), 9).astype(np.uint8)
    for shift, grey, thickness in ((0, 188, 50), (-4, 246, 38)):  # the handle: a shadow and the handle itself
        cv2.line(sheet.pixels, (420, 180 + shift), (490, 110 + shift), (grey, grey, grey), thickness, cv2.LINE_AA)
    for radius, colour in ((186, (192, 192, 192)), (180, WHITE), (160, (206, 206, 206)), (156, (44, 72, 112))):
        sheet.disc(300, 300, radius, colour)
    sheet.disc(304, 308, 142, (34, 56, 92))
    cv2.ellipse(sheet.pixels, (300, 300), (120, 120), 0, 190, 250, (70, 104, 146), 7, cv2.LINE_AA)
    sheet.pixels = cv2.GaussianBlur(sheet.pixels, (0, 0), 2).astype(np.uint8)
    return sheet


def pencil(colour: Colour) -> Sheet:
    """Return a sharpened pencil that points to the right."""
    sheet = Sheet.rounded(900, 36, WHITE)
    for y, factor in ((0, 0.75), (12, 1.0), (24, 0.6)):
        sheet.pixels[y : y + 12] = np.clip(np.array(colour) * factor, 0, 255)
    for x, width, part in ((0, 60, (150, 150, 220)), (60, 40, GREY), (810, 62, (160, 200, 230)), (872, 28, INK)):
        sheet.bar(x, 0, width, 36, part)
    outline = [[0, 0], [810, 0], [899, 18], [810, 35], [0, 35]]
    sheet.mask[:] = 0
    cv2.fillPoly(sheet.mask, [np.array(outline, np.int32)], 255, cv2.LINE_AA)
    return sheet


def lined_page(words: str) -> Sheet:
    """Return a page of a notebook: ruled lines, a red margin and text."""
    sheet = Sheet.rounded(900, 1200, PAPER)
    for y in range(150, 1180, 50):
        sheet.bar(0, y, 900, 2, (214, 196, 170))
    sheet.bar(110, 0, 3, 1200, (150, 150, 224))
    for row, line in enumerate(textwrap.wrap(words, 40)):
        sheet.text(135, 140 + 50 * row, line, 26, NAVY)
    return sheet


def carton(colour: Colour, title: str, detail: str) -> Sheet:
    """Return the front of a product: a coloured box with leaves and a name."""
    sheet = Sheet.rounded(420, 640, colour)
    sheet.bar(0, 0, 420, 26, GREY)
    sheet.disc(210, 215, 140, PAPER)
    for angle, length, leaf in ((-90, 95, SAGE), (-35, 75, TEAL), (-145, 75, TEAL)):
        turn = np.deg2rad(angle)
        middle = (210 + round(length * np.cos(turn)), 290 + round(length * np.sin(turn)))
        cv2.ellipse(sheet.pixels, middle, (length, length // 3), angle, 0, 360, leaf, -1, cv2.LINE_AA)
    sheet.bar(0, 420, 420, 160, PAPER)
    sheet.text(34, 490, title, 38, colour)
    sheet.text(34, 548, detail, 24, GREY)
    return sheet.shade(0.82, 1.05, 0.92)


def price_tag(name: str, price: str, digits: str) -> Sheet:
    """Return the price tag of a product, with its EAN-13."""
    sheet = Sheet.rounded(660, 330, WHITE)
    sheet.bar(0, 0, 660, 80, MUSTARD)
    sheet.text(24, 56, name, 36)
    sheet.text(24, 190, price, 54, bold=True)
    sheet.text(26, 250, "per piece", 24, GREY)
    sheet.code("ean-13", digits, 250, 110, 380, 150)
    sheet.text(294, 308, digits, 28)
    return sheet


def desk(rng: np.random.Generator) -> Scene:
    """Return a desk with a card, a ticket, an asset tag, a delivery note and a box of tea on it."""
    scene = Scene(wood(rng, 390, (150, 190, 218), (92, 132, 168)), 0.08, (0.35, 0.3))
    page = lined_page("Monday: send the samples back, order tea, call the workshop.")
    scene.lay(page, 482, 262, 300, -4)
    scene.lay(cup(), 878, 158, 220, 20, 9)
    scene.lay(pencil(MUSTARD), 408, 330, 220, -68, 4)

    ticket = Sheet.rounded(1000, 480, WHITE, 26)
    ticket.bar(0, 0, 1000, 90, TEAL)
    ticket.text(36, 62, "RAIL TICKET", 38, WHITE, bold=True)
    for y, heading, entry in ((150, "FROM", "Northfield"), (260, "TO", "Lakeside"), (370, "DEPARTS", "14 May  09:42")):
        ticket.text(36, y, heading, 20, GREY)
        ticket.text(36, y + 46, entry, 38)
    ticket.code("aztec", "RAIL 14MAY NORTHFIELD LAKESIDE COACH 4 SEAT 27", 640, 120, 330)
    scene.lay(ticket, 252, 590, 380, 5, 4)

    card = Sheet.rounded(640, 760, WHITE, 24)
    card.code("qr", "https://example.com/hello", 90, 80, 460)
    card.text(172, 645, "SCAN ME", 56, NAVY, bold=True)
    card.text(172, 705, "example.com/hello", 28, GREY)
    scene.lay(card, 206, 252, 236, -8, 4)

    note = Sheet.rounded(1000, 460, PAPER)
    note.text(40, 75, "DELIVERY NOTE  No. 20417", 34, bold=True)
    note.text(40, 125, "2 boxes, 1 envelope", 28, GREY)
    note.code("pdf417", "DELIVERY 20417; 2 BOXES; 1 ENVELOPE; FRONT DOOR", 40, 170, 920, rows=10)
    scene.lay(note, 716, 632, 400, -5)

    tag = Sheet.rounded(560, 330, (206, 204, 200), 40)
    tag.code("data matrix", "ASSET 004217", 50, 55, 220)
    tag.text(310, 130, "ASSET", 34, bold=True)
    tag.text(310, 190, "004217", 40)
    scene.lay(tag.shade(0.92, 1.12, 0.96), 838, 388, 250, 7, 5)

    tea = Sheet.rounded(520, 560, SAGE)
    tea.text(40, 80, "GREEN TEA", 44, WHITE, bold=True)
    tea.text(40, 135, "20 bags, 40 g", 30, WHITE)
    tea.bar(0, 180, 520, 380, PAPER)
    tea.code("ean-13", "2004217000011", 70, 225, 380, 230)
    tea.text(105, 515, "2004217000011", 36)
    scene.lay(tea.shade(0.97, 1.03, 0.93), 572, 336, 220, 8, 9)
    return scene


def parcel(rng: np.random.Generator) -> Scene:
    """Return the top of a parcel with tape and a shipping label."""
    floor = 0.5 + 0.1 * clouds(rng, WIDTH * ZOOM, HEIGHT * ZOOM, 120, 90)[..., None]
    scene = Scene(floor * np.array([1.0, 0.98, 0.95]), 0.08, (0.6, 0.3))
    box = Sheet.rounded(1800, 1320, WHITE)
    box.pixels = cardboard(rng, 1800, 1320, (118, 160, 196))
    stamp = (58, 62, 150)
    for x in (1400, 1540):  # this way up
        cv2.arrowedLine(box.pixels, (x, 960), (x, 800), stamp, 20, cv2.LINE_AA, 0, 0.4)
    cv2.ellipse(box.pixels, (1470, 230), (62, 120), 0, 0, 180, stamp, -1, cv2.LINE_AA)  # a glass: fragile
    for x, y, width, height in ((1340, 1000, 260, 20), (1462, 340, 16, 90), (1410, 420, 120, 18)):
        box.bar(x, y, width, height, stamp)
    scene.lay(box, 512, 410, 890, 0, 16)
    scene.lay(Sheet.rounded(1900, 190, (140, 188, 214), 4), 512, 380, 888, 0, 0.6)

    label = Sheet.rounded(1200, 1440, WHITE)
    label.text(50, 85, "FROM  Alder Workshop, 7 Mill Lane, Northfield", 32, GREY)
    for y in (120, 500, 905):
        label.bar(0, y, 1200, 6, INK)
    for row, line in enumerate(("R. Sample", "12 Harbour Street", "Lakeside  4021")):
        label.text(60, 230 + 90 * row, line, 56, bold=row == 2)
    label.code("data matrix", "LAKESIDE 4021 HARBOUR STREET 12 PARCEL 1/1", 850, 165, 290)
    label.code("pdf417", "SHIPMENT 7730 0412 9956; SAMPLE; 12 HARBOUR STREET; 4021", 100, 565, 1040, rows=12)
    label.code("code 128", "7730041299560", 150, 975, 940, 300)
    label.text(310, 1365, "7730 0412 9956 0", 56)
    scene.lay(label, 385, 415, 470, -3, 1.5)
    return scene


def shelf(rng: np.random.Generator) -> Scene:
    """Return a shelf with products, and price tags along its edge."""
    back = np.linspace(0.34, 0.2, HEIGHT * ZOOM)[:, None] + 0.02 * clouds(rng, WIDTH * ZOOM, HEIGHT * ZOOM, 30, 20)
    scene = Scene(back[..., None] * np.array([0.95, 1.0, 1.04]), 0.03, (0.5, 0.3))
    board = Sheet.rounded(2200, 120, WHITE)
    board.pixels = cardboard(rng, 2200, 120, (128, 172, 204))
    scene.lay(board, 512, 525, 1100, 0, 12)
    rail = Sheet.rounded(2200, 330, (198, 196, 192), 4)
    rail.bar(0, 0, 2200, 14, WHITE)
    scene.lay(rail, 512, 640, 1100, 0, 10)
    turned = Sheet.rounded(420, 640, SAGE)  # a box that shows its back
    turned.bar(30, 30, 360, 580, PAPER)
    turned.text(58, 100, "How to brew", 34)
    for row, line in enumerate(("80 degrees, 2 minutes.", "More at the address", "below.")):
        turned.text(58, 150 + 38 * row, line, 24, GREY)
    turned.code("qr", "https://example.com/brew", 72, 290, 280)
    scene.lay(turned.shade(0.9, 1.03, 0.94), 634, 315, 226, 0, 8)
    for x, colour, name, detail, tag_x, price, digits in (
        (146, RED, "Rose hip", "20 bags, 50 g", 182, "4.80", "2004217000035"),
        (390, MUSTARD, "Ginger", "20 bags, 40 g", 512, "3.20", "2004217000042"),
        (878, TEAL, "Mint", "20 bags, 30 g", 842, "2.90", "2004217000059"),
    ):
        scene.lay(carton(colour, name, detail), x, 315, 226, 0, 8)
        scene.lay(price_tag(name, price, digits), tag_x, 638, 290, rng.uniform(-1.2, 1.2), 2)
    return scene


def empty(rng: np.random.Generator) -> Scene:
    """Return a desk without any code: text, stripes, squares and ticks that only look a bit like one."""
    scene = Scene(wood(rng, 420, (128, 150, 170), (70, 88, 108)), 0.08, (0.4, 0.3))
    towel = Sheet.rounded(900, 700, PAPER)
    for x, width in ((60, 70), (160, 25)):
        towel.bar(x, 0, width, 700, (176, 140, 92))
    scene.lay(towel, 795, 225, 360, 10, 2)
    scene.lay(cup(), 850, 225, 220, 30, 8)
    words = "Not everything with lines is a code. This page has lines, words and a margin, and still there is nothing"
    scene.lay(lined_page(words + " here for a machine to read."), 275, 370, 370, -5, 4)
    scene.lay(pencil(RED), 395, 560, 250, -50, 4)
    envelope = Sheet.rounded(1000, 560, WHITE)
    for x in range(-560, 1000, 120):
        for shift, colour in ((0, RED), (60, NAVY)):
            ends = np.add([[0, 560], [30, 560], [590, 0], [560, 0]], [x + shift, 0]).astype(np.int32)
            cv2.fillPoly(envelope.pixels, [ends], colour, cv2.LINE_AA)
    envelope.bar(28, 28, 944, 504, PAPER)
    for row, line in enumerate(("R. Sample", "12 Harbour Street", "Lakeside  4021")):
        envelope.text(420, 280 + 70 * row, line, 40, NAVY)
    scene.lay(envelope, 745, 580, 400, 5)
    return scene


def main() -> None:
    """Draw all pictures and write them beside boxes.json."""
    parser = argparse.ArgumentParser(description="Draw sample pictures of machine-readable codes.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures and boxes.json")
    parser.add_argument("--seed", type=int, default=7, help="seed of textures and noise")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = []
    for draw in (desk, parcel, shelf, empty):
        name = f"{draw.__name__}.jpg"
        rng = np.random.default_rng(options.seed)
        picture, boxes = draw(rng).photograph(rng)
        if not cv2.imwrite(str(options.out / name), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise SystemExit(f"cannot write {options.out / name}")
        rows = ",\n".join("    " + json.dumps(box) for box in boxes)
        lines.append(f'  "{name}": [' + (f"\n{rows}\n  ]" if boxes else "]"))
        print(f"{name}: {len(boxes)} codes")
    (options.out / "boxes.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

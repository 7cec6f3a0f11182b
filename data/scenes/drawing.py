"""Scenes as geometry and as pixels: objects, where they lie, how they relate, how they are drawn.

A `Scene` is a background with one to three `Item`s. `holds` and `places` are the only rules for
relations and places: what captions say and what they are judged by. `draw` paints four times larger
and averages.

Letters: N scenes, P points of an outline. Lengths are pixels of a 64-pixel picture, x to the right
and y down.
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from data.scenes.sentences import RELATIONS

SIDE = 64
TOUCH = 1.0  # objects closer than this touch
HOLE = 0.62  # of a ring, as a part of its radius

COLOUR_RGB = {
    "red": (222, 40, 40),
    "orange": (247, 135, 20),
    "yellow": (252, 210, 30),
    "green": (40, 160, 70),
    "blue": (35, 95, 235),
    "purple": (128, 55, 195),
    "pink": (250, 105, 180),
    "turquoise": (10, 190, 196),
}
BACKGROUND_RGB = {  # top and bottom of the gradient, and the colour of the pattern
    "white": ((252, 252, 250), (246, 246, 244), None),
    "grey": ((172, 176, 182), (160, 164, 170), None),
    "black": ((22, 24, 32), (32, 34, 44), None),
    "sky": ((158, 208, 246), (228, 243, 253), (250, 253, 255)),
    "sand": ((240, 226, 194), (226, 207, 166), (206, 184, 138)),
    "grid": ((250, 251, 253), (250, 251, 253), (186, 204, 228)),
}


@dataclass(frozen=True)
class Item:
    """One object of a scene: what it is, where its centre lies and its half width in pixels."""

    shape: str
    colour: str
    size: str
    texture: str
    radius: float
    x: float = 0.0
    y: float = 0.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in pixels of the 64-pixel picture."""
        half_width, half_height = (self.radius * extent for extent in EXTENTS[self.shape])
        return self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height


@dataclass(frozen=True)
class Scene:
    """A background and one to three objects."""

    background: str
    objects: tuple[Item, ...]

    @cached_property
    def relations(self) -> tuple[tuple[str, int, int], ...]:
        """Every (relation, first, second) that holds between two of the objects."""
        ordered = list(itertools.permutations(range(len(self.objects)), 2))
        return tuple(
            (name, first, second)
            for name in RELATIONS
            for first, second in ordered
            if holds(name, self.objects[first], self.objects[second])
        )


# ---- Geometry: shapes, places and relations -----------------------------------------------------


def _polygons() -> dict[str, np.ndarray]:
    """Corners (P, 2) of each shape of radius 1, the middle of its box at the origin."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack([np.sin(turn), -np.cos(turn)], axis=1)
    heart = np.stack(
        [
            np.sin(turn) ** 3,
            -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))
            / 16,
        ],
        axis=1,
    )
    star = circle[::6] * np.where(np.arange(10) % 2, 0.46, 1.1)[:, None]
    arm = 0.34
    quarter = np.array([(-arm, -arm), (-arm, -1), (arm, -1)])
    cross = np.concatenate(
        [quarter, quarter @ [[0, 1], [-1, 0]], -quarter, quarter @ [[0, -1], [1, 0]]]
    )
    corners = {
        "circle": circle,
        "square": 0.88 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
        "triangle": np.array([(0, -0.9), (1, 0.9), (-1, 0.9)]),
        "star": star,
        "diamond": np.array([(0, -1.1), (0.95, 0), (0, 1.1), (-0.95, 0)]),
        "cross": cross,
        "heart": heart,
        "ring": circle,
    }
    return {name: points - (points.min(0) + points.max(0)) / 2 for name, points in corners.items()}


def _outline(corners: np.ndarray) -> np.ndarray:
    """72 points (72, 2) at equal steps along the polygon."""
    closed = np.concatenate([corners, corners[:1]])
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    steps = np.linspace(0, along[-1], 72, endpoint=False)
    return np.stack([np.interp(steps, along, closed[:, axis]) for axis in (0, 1)], axis=1)


POLYGONS = _polygons()
OUTLINES = {name: _outline(corners) for name, corners in POLYGONS.items()}
EXTENTS = {name: tuple(corners.max(0).tolist()) for name, corners in POLYGONS.items()}


def gap(a: Item, b: Item) -> float:
    """Distance in pixels between the outlines of two objects."""
    first = OUTLINES[a.shape] * a.radius + (a.x - b.x, a.y - b.y)
    second = OUTLINES[b.shape] * b.radius
    apart = first[:, None] - second[None]  # (72, 72, 2)
    return math.sqrt(np.einsum("ijk,ijk->ij", apart, apart).min())


def box_gap(a: Item, b: Item) -> float:
    """Free space between two boxes, along x or y; negative where they overlap."""
    left, top, right, bottom = a.box
    other_left, other_top, other_right, other_bottom = b.box
    return max(other_left - right, left - other_right, other_top - bottom, top - other_bottom)


def holds(relation: str, a: Item, b: Item) -> bool:
    """Whether `a relation b` is true: the one rule for what captions say and what fits them.

    inside:   a's box lies within b's box.
    touching: the outlines come closer than 1 pixel and neither is inside the other.
    above:    a's centre is at least 8 pixels higher than b's, at least as far up as aside, and
              neither is inside the other. left of: the same, sideways.
    """
    if relation == "inside":
        inner, outer = a.box, b.box
        return all(inner[k] >= outer[k] and inner[k + 2] <= outer[k + 2] for k in (0, 1))
    if holds("inside", a, b) or holds("inside", b, a):
        return False
    right, down = b.x - a.x, b.y - a.y
    if relation == "above":
        return down >= 8 and down >= abs(right)
    if relation == "left of":
        return right >= 8 and right > abs(down)
    if relation == "touching":
        return box_gap(a, b) < TOUCH and gap(a, b) < TOUCH
    raise ValueError(f"unknown relation {relation!r}; there are {', '.join(RELATIONS)}")


def places(item: Item) -> tuple[str, ...]:
    """Every place name that is true of an object, by its centre; the most telling name last.

    "left" and "top" are the outer 24 of 64 pixels, so an object in the "top left" is also at the
    "left" and at the "top"; "centre" is the middle both ways.
    """
    across = "left" if item.x < 24 else "right" if item.x > 40 else ""
    down = "top" if item.y < 24 else "bottom" if item.y > 40 else ""
    if across and down:
        return across, down, f"{down} {across}"
    return (across or down or "centre",)


# ---- Drawing ------------------------------------------------------------------------------------


def draw_scene(scene: Scene, size: int = SIDE) -> np.ndarray:
    """The picture of a scene, (size, size, 3) uint8, drawn four times larger and averaged."""
    scale = 4 * size / SIDE
    canvas = _backdrop(scene.background, 4 * size).copy()
    for item in sorted(scene.objects, key=lambda item: -item.radius):  # the contents on top
        body, ink, edge = _stencils(item.shape, item.radius, item.texture, scale)
        corner = (round(item.x * scale) - body.width // 2, round(item.y * scale) - body.height // 2)
        fill = COLOUR_RGB[item.colour]
        canvas.paste(fill, corner, body)
        canvas.paste(_ink(fill), corner, ink)
        # A rim darker than the object, or lighter in the dark, sets it off any background.
        rim = (
            _mix(fill, (255, 255, 255), 0.6)
            if scene.background == "black"
            else _mix(fill, (0, 0, 0), 0.65)
        )
        canvas.paste(rim, corner, edge)
    return np.array(canvas.reduce(4))


def draw_all(scenes: Sequence[Scene]) -> np.ndarray:
    """The pictures of N scenes, (N, 64, 64, 3) uint8."""
    pictures = np.empty((len(scenes), SIDE, SIDE, 3), np.uint8)
    for index, scene in enumerate(scenes):
        pictures[index] = draw_scene(scene)
    return pictures


def _mix(colour: tuple[int, ...], other: tuple[int, ...], part: float) -> tuple[int, ...]:
    return tuple(round(c + part * (o - c)) for c, o in zip(colour, other, strict=True))


def _ink(fill: tuple[int, ...]) -> tuple[int, ...]:
    """The colour of stripes and dots: white, but nearly black on a light object."""
    light = 0.3 * fill[0] + 0.59 * fill[1] + 0.11 * fill[2] > 140
    return (38, 36, 44) if light else (250, 250, 250)


@lru_cache(maxsize=512)
def _stencils(
    shape: str, radius: float, texture: str, scale: float
) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Masks of an object's body, of its texture and of its rim, on equal squares."""
    reach = math.ceil(1.2 * radius * scale)
    side = (2 * reach, 2 * reach)

    def points(grow: float) -> list[tuple[float, float]]:
        return [(x, y) for x, y in (grow * radius * scale * POLYGONS[shape] + reach).tolist()]

    body, edge = Image.new("L", side), Image.new("L", side)
    ImageDraw.Draw(body).polygon(points(1), fill=255)
    loops = [points(1)]
    if shape == "ring":
        ImageDraw.Draw(body).polygon(points(HOLE), fill=0)
        loops.append(points(HOLE))
    pen, width = ImageDraw.Draw(edge), max(1, round(scale))
    for loop in loops:
        pen.line([*loop, *loop[:2]], fill=255, width=width, joint="curve")
    return body, ImageChops.multiply(body, _tile(texture, reach, scale)), edge


def _tile(texture: str, reach: int, scale: float) -> Image.Image:
    """Where a texture lays its ink: an L mask of 2 reach pixels a side."""
    at = (np.arange(2 * reach) + 0.5 - reach) / scale  # pixels from the object's centre
    x, y = np.meshgrid(at, at)
    if texture == "striped":
        mask = (x + y) % 5 < 2
    elif texture == "dotted":
        x, y = (x + y) / 2, (x - y) / 2  # rows of dots along the diagonals
        mask = ((x + 1.5) % 3 - 1.5) ** 2 + ((y + 1.5) % 3 - 1.5) ** 2 < 0.95**2
    elif texture == "checked":
        mask = (x % 6 < 3) ^ (y % 6 < 3)
    else:
        mask = np.zeros_like(x, bool)
    return Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))


@lru_cache(maxsize=32)
def _backdrop(name: str, side: int) -> Image.Image:
    """A background without objects, (side, side) pixels: a gradient and perhaps a pattern."""
    top, bottom, pattern = BACKGROUND_RGB[name]
    down = np.linspace(0, 1, side)[:, None, None]
    rows = np.array(top) + down * (np.array(bottom) - np.array(top))  # (side, 1, 3)
    image = Image.fromarray(np.tile(rows.round().astype(np.uint8), (1, side, 1)))
    if pattern is None:
        return image
    pen = ImageDraw.Draw(image)
    unit = side / SIDE

    def spot(x: float, y: float, width: float, height: float) -> None:
        box = (x - width, y - height, x + width, y + height)
        pen.ellipse([edge * unit for edge in box], fill=pattern)

    if name == "grid":
        for at in range(4, SIDE, 8):
            pen.rectangle((at * unit, 0, (at + 1) * unit - 1, side), fill=pattern)
            pen.rectangle((0, at * unit, side, (at + 1) * unit - 1), fill=pattern)
    elif name == "sky":
        for x, y in ((11, 12), (48, 22), (20, 47)):  # clouds
            spot(x, y, 9, 2.4)
            spot(x - 2.5, y - 1.8, 3.6, 3)
            spot(x + 3, y - 1.2, 3, 2.4)
    else:
        rng = random.Random(name)
        for _ in range(90):  # grains of sand
            spot(rng.random() * SIDE, rng.random() * SIDE, 0.6, 0.6)
    return image

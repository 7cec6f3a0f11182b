"""The built-in data set: drawn scenes with written captions, made by a seeded program.

A scene is a background with one to three objects: shape, colour, size, texture and a place.
Captions mention some of that; `fits` says which scenes a caption is true of, so the score of a
perfect reader is known (`fit_matrix`, which `intervals.oracle` turns into scores).
`sentences.py` holds the language, `drawing.py` the geometry and the drawing.

    make_scenes("test") -> scenes, captions    draw_scene(scene) -> picture    picture("test", 7)

Letters: N scenes, M captions, Q queries, K concepts, S object slots (3). NumPy and Pillow only.
"""

import itertools
import math
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from data.scenes.drawing import (
    EXTENTS,
    OUTLINES,
    SIDE,
    Item,
    Scene,
    box_gap,
    draw_scene,
    gap,
    holds,
    places,
)
from data.scenes.sentences import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    TEXTURES,
    Meaning,
    Mention,
    Sentence,
    pick,
    read_sentence,
    say,
)

SPLITS = {"train": 4000, "validation": 500, "test": 1000}
CAPTIONS_PER_SCENE = 5
MARGIN = 3.0  # pixels between objects that do not touch
RADII = {"small": (6.5, 7.0), "medium": (9.5, 10.0, 10.5), "large": (14.0, 14.5)}  # in pixels
# The chance that a caption of one, two or three objects says a property of each of them: so little
# that several pictures fit the usual caption, and the perfect reader's MRR is about 0.45.
SAID = {
    "shape": (0.75, 0.65, 0.6),
    "colour": (0.75, 0.4, 0.2),
    "size": (0.4, 0.1, 0.05),
    "texture": (0.4, 0.12, 0.08),
    "plain": (0.08, 0.02, 0.01),  # the texture of an object that has none
    "place": (0.45, 0.12, 0.05),
    "background": (0.3, 0.08, 0.02),
}
CONTAINERS = ("circle", "square", "diamond", "heart", "ring")


# ---- Making scenes ------------------------------------------------------------------------------


def make_scenes(
    name: str, num_images: int | None = None, seed: int = 0
) -> tuple[list[Scene], list[list[Sentence]]]:
    """The scenes of a split and the captions of each scene.

    Args:
        name: "train", "validation" or "test".
        num_images: How many; by default 4,000, 500 and 1,000. Fewer are the first of more.
        seed: Other seeds give other scenes. Whatever the seeds, two splits share no scene.

    Returns:
        N scenes, and for each of them a list of captions that fit it.

    Raises:
        ValueError: Unknown split, or a negative number.
    """
    _check_name(name)
    if num_images is None:
        num_images = SPLITS[name]
    if num_images < 0:
        raise ValueError(f"num_images is {num_images}, expected 0 or more")
    made = [_make(name, index, seed) for index in range(num_images)]
    return [scene for scene, _ in made], [captions for _, captions in made]


def make_scene(split: str, index: int, seed: int = 0) -> Scene:
    """Scene `index` of a split, a function of (seed, split, index) alone."""
    _check_name(split)
    rng = random.Random(f"scene {seed} {split} {index}")
    while True:
        background, link, items = _compose(rng)
        if _split_of(background, items) == split and (placed := _arrange(link, items, rng)):
            return Scene(background, placed)


def _make(split: str, index: int, seed: int) -> tuple[Scene, list[Sentence]]:
    scene = make_scene(split, index, seed)
    return scene, write_sentences(scene, random.Random(f"captions {seed} {split} {index}"))


def find_scene(reference: str) -> Scene:
    """The scene that `scenes:<seed>:<split>:<index>` means. Raises ValueError: it means none."""
    kind, seed, split, index = reference.split(":")
    if kind != "scenes":
        raise ValueError(f"{reference!r} is no reference to a scene")
    return make_scene(split, int(index), int(seed))


def picture(split: str, index: int, seed: int = 0, size: int = SIDE) -> np.ndarray:
    """Picture `index` of a split, (size, size, 3) uint8, without making any other."""
    return draw_scene(make_scene(split, index, seed), size)


def _check_name(name: str) -> None:
    if name not in SPLITS:
        raise ValueError(f"unknown split {name!r}; there are {', '.join(SPLITS)}")


def _split_of(background: str, items: Sequence[Item]) -> str:
    """The split that owns this combination of things, wherever they lie.

    So no scene of one split is found in another one, not even with its objects moved.
    """
    things = sorted((item.shape, item.colour, item.size, item.texture) for item in items)
    bucket = zlib.crc32(repr((background, things)).encode()) % 11
    return "train" if bucket < 8 else "validation" if bucket == 8 else "test"


def _compose(rng: random.Random) -> tuple[str, str, list[Item]]:
    """Background, link of the first two objects ("", "inside" or "touching") and the objects."""
    roll = rng.random()
    number = 1 if roll < 0.2 else 2 if roll < 0.6 else 3
    link = pick(rng, ("", "", "inside", "touching")) if number > 1 else ""
    items: list[Item] = []
    for position in range(number):
        shape = pick(rng, tuple(SHAPES))
        size = pick(rng, ("small", "medium", "large"))
        texture = pick(rng, ("plain", "plain", *TEXTURES))
        colour = pick(rng, tuple(COLOURS))
        if link == "inside" and position == 0:
            shape, size, texture = pick(rng, CONTAINERS), "large", "plain"
        elif link == "inside" and position == 1:
            size = "small"
        elif size == "large" and any(item.size == "large" for item in items):
            size = "medium"  # two large objects seldom find room
        while link and position == 1 and colour == items[0].colour:
            colour = pick(rng, tuple(COLOURS))  # what overlaps or touches must stand out
        items.append(Item(shape, colour, size, texture, pick(rng, RADII[size])))
    return pick(rng, tuple(BACKGROUNDS)), link, items


def _arrange(link: str, items: Sequence[Item], rng: random.Random) -> tuple[Item, ...] | None:
    """The objects at places where the first two are linked and nothing else meets; None if full."""
    for _ in range(30):
        placed: list[Item] = []
        for position, item in enumerate(items):
            linked = link if position == 1 else ""
            spot = _find_spot(item, placed, linked, rng)
            if spot is None:
                break
            placed.append(spot)
        if len(placed) == len(items):
            return tuple(placed)
    return None


def _find_spot(item: Item, placed: Sequence[Item], link: str, rng: random.Random) -> Item | None:
    for _ in range(8):
        if link == "inside":
            host = placed[0]
            middle = host.y + host.radius * OUTLINES[host.shape][:, 1].mean()  # a heart's is high
            return _moved(item, host.x + 2 * rng.random() - 1, middle + 2 * rng.random() - 1)
        if link == "touching":
            spot = _slide(item, placed[0], rng)
            if spot and _in_picture(spot):
                return spot
            continue
        half_width, half_height = (item.radius * extent + 1.5 for extent in EXTENTS[item.shape])
        x = half_width + rng.random() * (SIDE - 2 * half_width)
        y = half_height + rng.random() * (SIDE - 2 * half_height)
        spot = _moved(item, x, y)
        if all(box_gap(spot, other) >= MARGIN for other in placed):
            return spot
    return None


def _slide(item: Item, host: Item, rng: random.Random) -> Item | None:
    """The object moved towards the host from one of four sides until it touches; None if it misses.

    Each step is the distance that is left, so the outlines meet and never cross.
    """
    angle = math.pi / 2 * int(rng.random() * 4) + 0.8 * (rng.random() - 0.5)
    distance = 1.5 * (item.radius + host.radius)
    for _ in range(12):
        x, y = host.x + distance * math.cos(angle), host.y + distance * math.sin(angle)
        spot = _moved(item, x, y)
        left = gap(spot, host)
        if left < 0.7:
            return spot
        distance -= left - 0.3
    return None


def _moved(item: Item, x: float, y: float) -> Item:
    """The object at a centre on the quarter-pixel raster that pictures are drawn on."""
    return replace(item, x=round(4 * x) / 4, y=round(4 * y) / 4)


def _in_picture(item: Item) -> bool:
    left, top, right, bottom = item.box
    return left >= 1 and top >= 1 and right <= SIDE - 1 and bottom <= SIDE - 1


# ---- Writing captions ---------------------------------------------------------------------------


def write_sentences(scene: Scene, rng: random.Random) -> list[Sentence]:
    """Five captions that fit the scene, different in text as far as the scene allows."""
    captions: dict[str, Sentence] = {}
    spare = []
    for _ in range(20):
        meaning = _choose_meaning(scene, rng)
        caption = Sentence(say(meaning, rng), meaning)
        if caption.text in captions:
            spare.append(caption)
        captions[caption.text] = caption
        if len(captions) == CAPTIONS_PER_SCENE:
            break
    return [*captions.values(), *spare][:CAPTIONS_PER_SCENE]


def _choose_meaning(scene: Scene, rng: random.Random) -> Meaning:
    """Some of what is true of the scene."""
    objects = list(range(len(scene.objects)))
    relations: list[tuple[str, int, int]] = []
    roll = rng.random()
    if len(objects) == 1 or roll < 0.45:
        chosen = [pick(rng, objects)]
    elif scene.relations and roll < 0.85:
        relations, chosen = _choose_relations(scene, rng)
    else:
        start = int(rng.random() * len(objects))
        chosen = (objects[start:] + objects[:start])[: 2 if rng.random() < 0.8 else 3]
    mentions = tuple(_mention(scene.objects[at], len(chosen), not relations, rng) for at in chosen)
    renumbered = tuple((name, chosen.index(a), chosen.index(b)) for name, a, b in relations)
    told = rng.random() < SAID["background"][len(chosen) - 1]
    return Meaning(mentions, renumbered, scene.background if told else None)


def _choose_relations(
    scene: Scene, rng: random.Random
) -> tuple[list[tuple[str, int, int]], list[int]]:
    """One relation, or two that share an object, and the numbers of the objects they are about."""
    relation = pick(rng, scene.relations)
    chosen = list(relation[1:])
    others = [other for other in scene.relations if len({*chosen, *other[1:]}) == 3]
    roll = rng.random()
    if others and roll < 0.15:
        other = pick(rng, others)
        return [relation, other], list(dict.fromkeys([*chosen, *other[1:]]))
    if len(scene.objects) == 3 and roll < 0.25:
        chosen.append(3 - sum(chosen))
    return [relation], chosen


def _mention(item: Item, number: int, placed: bool, rng: random.Random) -> Mention:
    """Each property with its chance; the colour always where the shape is left out."""
    said = {field: rng.random() < chances[number - 1] for field, chances in SAID.items()}
    where = places(item)
    return Mention(
        shape=item.shape if said["shape"] else None,
        colour=item.colour if said["colour"] or not said["shape"] else None,
        size=item.size if said["size"] else None,
        texture=item.texture if said["plain" if item.texture == "plain" else "texture"] else None,
        place=pick(rng, (where[-1], *where)) if placed and said["place"] else None,
    )


# ---- Judging captions ---------------------------------------------------------------------------


def fits(caption: Sentence, scene: Scene) -> bool:
    """Whether the caption is true: its mentions match distinct objects and all constraints hold."""
    meaning = caption.meaning
    if meaning.background not in (None, scene.background):
        return False
    return any(
        all(map(_matches, meaning.objects, chosen))
        and all(holds(name, chosen[a], chosen[b]) for name, a, b in meaning.relations)
        for chosen in itertools.permutations(scene.objects, len(meaning.objects))
    )


def is_true(text: str, scene: Scene) -> bool:
    """Whether a sentence is one of the grammar and true of the scene."""
    try:
        return fits(read_sentence(text), scene)
    except ValueError:  # no sentence of the grammar
        return False


def _matches(mention: Mention, item: Item) -> bool:
    return (
        mention.shape in (None, item.shape)
        and mention.colour in (None, item.colour)
        and mention.size in (None, item.size)
        and mention.texture in (None, item.texture)
        and (mention.place is None or mention.place in places(item))
    )


def fit_matrix(captions: Sequence[Sentence], scenes: Sequence[Scene]) -> np.ndarray:
    """`fits` of M captions and N scenes at once.

    Returns:
        (M, N) bool.
    """
    tables = truth_tables(scenes)
    fit = np.zeros((len(captions), len(scenes)), bool)
    for row, caption in enumerate(captions):
        fit[row] = fit_scenes(caption.meaning, tables)
    return fit


def fit_scenes(meaning: Meaning, tables: Mapping[str, np.ndarray]) -> np.ndarray:
    """The scenes that a meaning fits, by their `truth_tables`.

    For each way to give the mentions distinct objects, all constraints are tables of truth over
    the scenes, and a caption fits where one way meets them all.

    Returns:
        (N,) bool.
    """
    matches = []
    for mention in meaning.objects:
        said = [tables[f"{field} {value}"] for field, value in vars(mention).items() if value]
        matches.append(np.logical_and.reduce([tables["there"], *said]))  # (S, N)
    fit = np.zeros(tables["there"].shape[1], bool)
    for ends in itertools.permutations(range(3), len(matches)):
        way = matches[0][ends[0]]
        for match, end in zip(matches[1:], ends[1:], strict=True):
            way = way & match[end]
        for name, a, b in meaning.relations:
            way = way & tables[name][ends[a], ends[b]]
        fit |= way
    if meaning.background:
        fit &= tables[f"background {meaning.background}"]
    return fit


def truth_tables(scenes: Sequence[Scene]) -> dict[str, np.ndarray]:
    """Fact, such as "colour red", -> what it is true of.

    Returns:
        {fact: (N,) scenes, (S, N) objects or (S, S, N) pairs of objects, bool}.
    """
    num = len(scenes)
    fields = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "texture": TEXTURES}
    facts = [f"{field} {value}" for field, values in fields.items() for value in values]
    tables = {
        fact: np.zeros((3, num), bool)
        for fact in ["there", *facts, *(f"place {place}" for place in PLACES)]
    }
    tables |= {f"background {name}": np.zeros(num, bool) for name in BACKGROUNDS}
    tables |= {name: np.zeros((3, 3, num), bool) for name in RELATIONS}
    for at, scene in enumerate(scenes):
        tables[f"background {scene.background}"][at] = True
        for name, first, second in scene.relations:
            tables[name][first, second, at] = True
        for slot, item in enumerate(scene.objects):
            tables["there"][slot, at] = True
            for field in fields:
                tables[f"{field} {getattr(item, field)}"][slot, at] = True
            for place in places(item):
                tables[f"place {place}"][slot, at] = True
    return tables


CONCEPTS = (
    *SHAPES,
    *COLOURS,
    *SIZES,
    *TEXTURES,
    *PLACES,
    *RELATIONS,
    *(f"{background} background" for background in BACKGROUNDS),
    *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
)
_CONCEPT_ROW = {name: row for row, name in enumerate(CONCEPTS)}


def concepts(scene: Scene) -> np.ndarray:
    """What the scene holds, (K,) float32 of 0 and 1 in the order of `CONCEPTS`."""
    names = [f"{scene.background} background", *(name for name, _, _ in scene.relations)]
    for item in scene.objects:
        names += [item.shape, item.colour, item.size, item.texture, *places(item)]
        names.append(f"{item.colour} {item.shape}")
    present = np.zeros(len(CONCEPTS), np.float32)
    present[[_CONCEPT_ROW[name] for name in names]] = 1
    return present

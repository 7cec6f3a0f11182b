"""The built-in data set: what is drawn, what is written, and which caption fits which scene."""

import itertools
import random
import re

import numpy as np
import pytest

from data.scenes import drawing, sentences, world
from data.scenes.drawing import BACKGROUND_RGB, COLOUR_RGB, box_gap, gap
from data.scenes.sentences import Meaning, Mention, say
from data.scenes.world import Item, Scene, fits, holds, read_sentence
from grading import chance

NUM = 300


@pytest.fixture(scope="module")
def test_split():
    return world.make_scenes("test")


@pytest.fixture(scope="module")
def small_split():
    return world.make_scenes("train", NUM)


def item(description, x=32.0, y=32.0):
    """An object from "large plain red square"."""
    size, texture, colour, shape = description.split()
    return Item(shape, colour, size, texture, world.RADII[size][0], x, y)


# A small red circle straight above a large blue star, a green ring at the right of both.
STACK = Scene(
    "sand",
    (
        item("small plain red circle", 20, 10),
        item("large striped blue star", 20, 40),
        item("medium dotted green ring", 50, 38),
    ),
)
NEST = Scene(
    "grid", (item("large plain yellow ring", 30, 30), item("small checked pink heart", 30.5, 30))
)
TOUCH = Scene(
    "white",
    (item("medium plain red square", 20, 32), item("medium plain purple square", 36.75, 32)),
)


# ---- Splits -------------------------------------------------------------------------------------


def test_default_counts(test_split):
    scenes, captions = test_split
    assert world.SPLITS == {"train": 4000, "validation": 500, "test": 1000}
    assert len(scenes) == len(captions) == 1000
    assert {len(own) for own in captions} == {5}
    assert {len(scene.objects) for scene in scenes} == {1, 2, 3}


def test_a_split_is_determined_by_its_seed():
    once, again, other = (world.make_scenes("validation", 20, seed) for seed in (3, 3, 4))
    assert once == again
    assert all(a != b for a, b in zip(once[0], other[0], strict=True))
    longer = world.make_scenes("validation", 25, 3)
    assert (longer[0][:20], longer[1][:20]) == once


def test_scenes_stay_what_they_are():
    """A changed data set would make old scores incomparable: change this line knowingly."""
    scenes, captions = world.make_scenes("test", 2)
    assert [len(scene.objects) for scene in scenes] == [2, 2]
    assert [own[0].text for own in captions] == [
        "a checked cross on a white background",
        "a star with a heart to the left of it",
    ]


def test_splits_share_no_scene_whatever_the_seed():
    def combinations(name, seed):
        return {
            (
                scene.background,
                tuple(sorted((o.shape, o.colour, o.size, o.texture) for o in scene.objects)),
            )
            for scene in world.make_scenes(name, 400, seed)[0]
        }

    found = {name: combinations(name, 0) | combinations(name, 1) for name in world.SPLITS}
    assert all(found.values())
    for one, other in itertools.combinations(found.values(), 2):
        assert not one & other


def test_one_picture_equals_its_place_in_the_split(small_split):
    assert world.make_scene("train", 7) == small_split[0][7]
    np.testing.assert_array_equal(
        world.picture("train", 7), drawing.draw_all(small_split[0][:8])[7]
    )


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="unknown split 'dev'; there are train, validation, test"):
        world.make_scenes("dev")
    with pytest.raises(ValueError, match="num_images is -1"):
        world.make_scenes("test", -1)
    with pytest.raises(ValueError, match="unknown relation 'behind'"):
        holds("behind", *STACK.objects[:2])
    assert world.make_scenes("test", 0) == ([], [])


# ---- Geometry -----------------------------------------------------------------------------------


def test_objects_keep_apart_unless_they_are_related(small_split):
    for scene in small_split[0]:
        for box in (o.box for o in scene.objects):
            assert min(box) >= 0 and max(box) <= 64
        for a, b in itertools.combinations(scene.objects, 2):
            nested = holds("inside", a, b) or holds("inside", b, a)
            if nested or holds("touching", a, b):
                assert a.colour != b.colour
            else:
                assert box_gap(a, b) >= world.MARGIN and gap(a, b) >= world.MARGIN


def test_relations_of_known_scenes():
    assert set(STACK.relations) == {("above", 0, 1), ("left of", 1, 2), ("left of", 0, 2)}
    assert set(NEST.relations) == {("inside", 1, 0)}
    assert set(TOUCH.relations) == {("left of", 0, 1), ("touching", 0, 1), ("touching", 1, 0)}


def test_relations_are_antisymmetric_and_touching_is_symmetric(small_split):
    seen = set()
    for scene in small_split[0]:
        facts = set(scene.relations)
        for name, a, b in facts:
            assert ((name, b, a) in facts) == (name == "touching")
        for a, b in itertools.combinations(range(len(scene.objects)), 2):
            between = {name for name, *ends in facts if {a, b} == set(ends)}
            assert not {"above", "left of"} <= between
            assert "inside" not in between or len(between) == 1
        seen |= {name for name, _, _ in facts}
    assert seen == set(sentences.RELATIONS)


def test_above_needs_eight_pixels_and_more_height_than_width():
    low = item("small plain red circle", 30, 40)
    for x, y, expected in ((30, 32, True), (30, 32.5, False), (20, 30, True), (19, 30, False)):
        assert holds("above", item("small plain blue star", x, y), low) is expected


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (23, 32, {"left"}),
        (24, 40, {"centre"}),
        (41, 41, {"right", "bottom", "bottom right"}),
        (32, 10, {"top"}),
        (10, 10, {"left", "top", "top left"}),
    ],
)
def test_places(x, y, expected):
    assert set(world.places(item("small plain red circle", x, y))) == expected


# ---- Drawing ------------------------------------------------------------------------------------


def test_a_large_red_square_is_red_in_the_middle_and_only_there():
    image = world.draw_scene(Scene("white", (item("large plain red square"),)))
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert (image[24:40, 24:40] == COLOUR_RGB["red"]).all()
    assert (image[:16] > 240).all() and (image[:, 50:] > 240).all()


def test_boxes_frame_what_is_drawn(small_split):
    for scene in small_split[0][:60]:
        empty = world.draw_scene(Scene(scene.background, ()))
        for o in scene.objects:
            alone = world.draw_scene(Scene(scene.background, (o,)))
            rows, columns = np.nonzero((alone != empty).any(axis=2))
            drawn = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_allclose(drawn, o.box, atol=1.6)  # half a rim and a part of a pixel


def test_every_shape_colour_texture_and_size_looks_different():
    def look(size="large", texture="plain", colour="red", shape="circle"):
        scene = Scene("white", (item(f"{size} {texture} {colour} {shape}"),))
        return world.draw_scene(scene).astype(int)

    for field, values in (
        ("shape", sentences.SHAPES),
        ("colour", sentences.COLOURS),
        ("texture", sentences.TEXTURES),
        ("size", sentences.SIZES),
    ):
        pictures = [look(**{field: value}) for value in values]
        for a, b in itertools.combinations(pictures, 2):
            assert (np.abs(a - b).max(axis=2) > 60).sum() > 50


def test_colours_stand_out_from_each_other_and_from_every_background():
    assert list(COLOUR_RGB) == list(sentences.COLOURS)
    assert list(BACKGROUND_RGB) == list(sentences.BACKGROUNDS)
    colours = [np.array(rgb) for rgb in COLOUR_RGB.values()]
    grounds = [np.array(rgb) for parts in BACKGROUND_RGB.values() for rgb in parts if rgb]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)) > 70
    assert min(np.linalg.norm(a - b) for a, b in itertools.product(colours, grounds)) > 90


def test_contents_are_drawn_on_their_container_in_any_order():
    inner, outer = item("small plain blue star"), item("large plain red circle")
    image = world.draw_scene(Scene("white", (inner, outer)))
    np.testing.assert_array_equal(image, world.draw_scene(Scene("white", (outer, inner))))
    assert (image[32, 32] == COLOUR_RGB["blue"]).all()


def test_other_sizes_show_the_same_picture():
    large = world.draw_scene(STACK, 128).reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(large - world.draw_scene(STACK)).mean() < 3


# ---- Captions -----------------------------------------------------------------------------------


def test_every_caption_fits_its_scene_and_five_differ(test_split):
    scenes, captions = test_split
    for scene, own in zip(scenes, captions, strict=True):
        assert all(fits(caption, scene) for caption in own)
    assert np.mean([len({caption.text for caption in own}) == 5 for own in captions]) > 0.98


def test_every_word_of_the_grammar_appears():
    texts = [c.text for own in world.make_scenes("train", 1500)[1] for c in own]
    seen = {word for text in texts for word in re.findall("[a-z]+", text)}
    known = {word for phrase in sentences._LEXICON for word in phrase}
    assert seen == known


def equivalent(one: Meaning, other: Meaning) -> bool:
    """Equal but for the numbering of the mentions and the side from which touching is told."""

    def facts(meaning, order):
        told = [(name, order[a], order[b]) for name, a, b in meaning.relations]
        return {(n, *(sorted(ends) if n == "touching" else ends)) for n, *ends in told}

    count = len(one.objects)
    return one.background == other.background and any(
        all(one.objects[k] == other.objects[order[k]] for k in range(count))
        and facts(one, order) == facts(other, range(count))
        for order in itertools.permutations(range(count))
        if count == len(other.objects)
    )


def test_reading_a_caption_gives_its_meaning(test_split):
    """Whatever is said is meant, and whatever is meant is said."""
    for caption in itertools.chain(*test_split[1]):
        assert equivalent(caption.meaning, read_sentence(caption.text).meaning), caption


def test_one_meaning_is_said_in_many_ways():
    meaning = Meaning(
        (Mention("circle", "red", "small"), Mention("star", "blue")), (("above", 0, 1),)
    )
    rng = random.Random(0)
    texts = {say(meaning, rng) for _ in range(1500)}
    assert {
        "a small red circle above a blue star",
        "above a blue star is a small red circle",
        "a blue star with a small red circle above it",
        "a small red circle floats above a blue star",
        "a blue star below a small red circle",
        "there is a tiny red disc over a blue star",
    } <= texts
    assert all(equivalent(read_sentence(text).meaning, meaning) for text in texts)


@pytest.mark.parametrize(
    ("text", "scene", "expected"),
    [
        ("a small red circle above a blue star", STACK, True),
        ("above a blue star is a small red circle", STACK, True),
        ("a blue star with a tiny scarlet disc above it", STACK, True),
        ("a large red circle above a blue star", STACK, False),
        ("a blue star above a red circle", STACK, False),
        ("a red star above a blue circle", STACK, False),  # the same words, otherwise bound
        ("a blue star lies below a small circle on sand", STACK, True),
        ("a blue star lies below a small circle on a grid", STACK, False),
        ("a spotted hoop to the right of a stripy star", STACK, True),
        ("a ring with a star right of it", STACK, False),
        ("a red disc in the top left corner", STACK, True),
        ("at the top is a red disc", STACK, True),
        ("at the top is a blue star", STACK, False),
        ("a star and a circle and a green thing with dots", STACK, True),
        ("a circle and a round shape", STACK, False),  # two mentions want two objects
        ("a disc above a star which is left of a ring", STACK, True),
        ("a disc above a star which is right of a ring", STACK, False),
        ("a yellow ring contains a checked heart", NEST, True),
        ("a pink heart hides within a hoop", NEST, True),
        ("a ring inside a heart", NEST, False),
        ("a ring touching a heart", NEST, False),
        ("a red square meets a violet box", TOUCH, True),
        ("a violet box and a red square touch each other", TOUCH, True),
        ("a square and a square", TOUCH, True),
        ("a red square and a red square", TOUCH, False),
        ("a plain square left of a purple square on white", TOUCH, True),
        ("a square, a square and a square", TOUCH, False),
    ],
)
def test_examples_of_fitting(text, scene, expected):
    assert fits(read_sentence(text), scene) is expected
    assert world.fit_matrix([read_sentence(text)], [scene]).tolist() == [[expected]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot make sense"),
        ("red", "no noun"),
        ("a red blue circle", "two words for one colour"),
        ("a circle above", "without its objects"),
        ("a circle above below a star", "two relations"),
        ("a circle above it", '"it" without'),
        ("a red wombat above a moose", "does not have: wombat, moose"),
    ],
)
def test_what_cannot_be_read_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_sentence(text)


def test_fit_matrix_equals_fits(test_split):
    scenes = test_split[0][:150]
    captions = [c for own in test_split[1][100:180] for c in own]
    expected = [[fits(caption, scene) for scene in scenes] for caption in captions]
    np.testing.assert_array_equal(world.fit_matrix(captions, scenes), expected)


def test_pairs():
    text = "a scarlet disc floats over a tiny stripy star"
    expected = "red_circle small_star striped_star float_circle lie_star"
    assert sentences.pairs(read_sentence(text)) == set(expected.split())
    touching = read_sentence("a star and a box touch each other")
    assert sentences.pairs(touching) == {"touch_star", "touch_square"}
    assert sentences.pairs(read_sentence("a hoop holds a heart")) == {"contain_ring", "sit_heart"}
    assert sentences.pairs(read_sentence("a red shape left of a star on sand")) == set()


def test_concepts():
    assert len(set(world.CONCEPTS)) == len(world.CONCEPTS)
    vector = world.concepts(NEST)
    assert vector.shape == (len(world.CONCEPTS),) and vector.dtype == np.float32
    assert {name for name, value in zip(world.CONCEPTS, vector, strict=True) if value == 1} == {
        *("ring", "yellow", "large", "plain", "heart", "pink", "small", "checked"),
        *("centre", "inside", "grid background", "yellow ring", "pink heart"),
    }
    assert set(vector.tolist()) == {0.0, 1.0}


# ---- The perfect reader and lesser ones ---------------------------------------------------------


def words_reader(captions, scenes, fields):
    """Knows which values of some fields a scene holds, but not which object has which."""
    fit = np.ones((len(captions), len(scenes)), bool)
    for field in fields:
        held = {}
        for at, scene in enumerate(scenes):
            for o in scene.objects:
                held.setdefault(getattr(o, field), np.zeros(len(scenes), bool))[at] = True
        for row, caption in enumerate(captions):
            for mention in caption.meaning.objects:
                fit[row] &= held.get(getattr(mention, field), True)
    return fit


def test_words_alone_do_not_solve_the_data(test_split):
    scenes, captions = test_split
    flat = [caption for own in captions for caption in own]
    own = np.repeat(np.arange(len(scenes)), 5)
    fit = world.fit_matrix(flat, scenes)
    assert fit[np.arange(len(flat)), own].all()

    def mrr(matrix):
        return chance.oracle(matrix, own)["text_to_image"].values()["mrr"].mean()

    perfect = mrr(fit)
    assert 0.4 < perfect < 0.5
    without_relations = [
        world.Sentence(c.text, Meaning(c.meaning.objects, (), c.meaning.background)) for c in flat
    ]
    assert mrr(world.fit_matrix(without_relations, scenes)) > 0.6 * perfect
    assert mrr(words_reader(flat, scenes, ["colour"])) < 0.15 * perfect
    unbound = words_reader(flat, scenes, ["shape", "colour", "size", "texture"])
    assert mrr(unbound) < 0.4 * perfect

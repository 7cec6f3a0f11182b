"""Examples: which are chosen, where the originals stand, and the pages."""

import warnings

import numpy as np
import pytest
from PIL import Image, ImageColor
from tiny_run import unit

import metrics
from answering import example_pages, examples
from gallery import similarity, stored
from run import files
from run.folder import Run


def make_run(folder, image, text, owner, kind="cosine", pictures=None):
    """A graded run's projections; captions and names are odd on purpose."""
    odd = [
        "two words",
        "many words " * 40,
        "x" * 300,
        "漢字" * 30,
        "مرحبا 😀 $\\frac{x$",
        "dots . .",
    ]
    strings = {
        "image_names": [f"{row}.png" for row in range(len(image))],
        "captions": [f"{row} {odd[row % 6]}" for row in range(len(text))],
        "pictures": pictures or [""] * len(image),
    }
    arrays = {"image": image, "text": text, "caption_image": np.asarray(owner, np.int32)}
    for name, values in strings.items():
        arrays[f"{name}_data"], arrays[f"{name}_offsets"] = files.pack_strings(values)
    run = Run(folder)
    files.write_arrays(run.projections, arrays | {"similarity": similarity.pack_similarity(kind)})
    return run


@pytest.fixture
def drawn():
    """12 images of 1 to 4 captions: rows, and the owner of each caption."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(12), np.arange(12) % 4 + 1)
    image = rng.normal(size=(12, 6))
    return unit(image), unit(image[owner] + rng.normal(size=(len(owner), 6))), owner


def test_good_and_bad_cases_by_hand():
    owner = np.array([0, 0, 1, 1, 2, 2, 3, 4, 5, 6])
    ranks = np.array([1, 1, 3, 9, 1, 9, 1, 1, 4, 1])
    # Rank 1, each image once: rows 0, 4, 6, 7, 9. Largest: 3 and 5, the same; then 8.
    assert examples.choose_queries(ranks, owner, 2) == ([0], [3])
    assert examples.choose_queries(ranks, owner, 4) == ([0, 9], [3, 5])
    assert examples.choose_queries(ranks, owner, 5) == ([0, 6, 9], [3, 5])
    assert examples.choose_queries(ranks, owner, 8) == ([0, 4, 7, 9], [3, 5, 8])
    assert examples.choose_queries(ranks, owner, 99)[0] == [0, 4, 6, 7, 9]
    assert examples.choose_queries(np.ones(3, int), np.arange(3), 4) == ([0, 2], [])
    assert examples.choose_queries(np.array([7, 8]), np.arange(2), 4) == ([], [1, 0])


@pytest.mark.parametrize("kind", ["cosine", "order"])
@pytest.mark.parametrize("tied", [False, True])
def test_originals_stand_where_the_metrics_say(tmp_path, drawn, kind, tied):
    image, text, owner = drawn
    if tied:
        text[3:9], image[4:7] = text[2], image[3]
    gallery = stored.Gallery(make_run(tmp_path, image, text, owner, kind))
    found = metrics.evaluate(image, text, owner, similarity=kind)
    for row, rank in enumerate(found["image_to_text"].ranks):
        example = examples.of_image(gallery, row, rank)
        places = [answer.rank for answer in example.originals]
        assert places[0] == rank == example.query.rank and places == sorted(set(places))
        assert len(places) == (owner == row).sum() and all(a.own for a in example.originals)
        assert example.query.name == f"{row}.png" and len(example.predicted) == 5
        if not tied:
            assert example.predicted[0].own == (rank == 1)
    for row, rank in enumerate(found["text_to_image"].ranks):
        example = examples.of_caption(gallery, row, rank)
        (original,) = example.originals
        assert (original.rank, original.image) == (rank, owner[row])
        assert example.query.caption == gallery.captions[row]
        # Its own sentence would tell which tile is the original.
        alone = (owner == owner[row]).sum() == 1
        assert (original.caption == gallery.captions[row]) == alone
        ours = [answer for answer in example.predicted if answer.own]
        assert [answer.image for answer in ours] in ([owner[row]], [])
        if not tied:
            assert [answer.rank for answer in ours] == ([rank] if rank <= 5 else [])
            assert ours == [] or ours[0] == pytest.approx(original)


def pixels(path, colour):
    with Image.open(path) as page:
        return (np.asarray(page) == ImageColor.getrgb(colour)).all(axis=2).sum()


def write(run, rows, number, data_dir=None):
    found = metrics.evaluate(*rows)
    ranks = {direction: result.ranks for direction, result in found.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return examples.write_examples(run, ranks, number, "test", data_dir)


@pytest.mark.parametrize("number", [1, 6])
def test_pages_without_pictures(tmp_path, drawn, number, capfd):
    run = make_run(tmp_path, drawn[0], drawn[1], drawn[2])
    pages = write(run, drawn, number)
    assert [p.name for p in pages] == [
        "examples_text_to_image.png",
        "examples_image_to_text.png",
        "examples.md",
    ]
    before = [path.read_bytes() for path in pages]
    assert [path.read_bytes() for path in write(run, drawn, number)] == before
    for path in pages[:2]:
        with Image.open(path) as page:
            values = np.asarray(page)
            assert (values[:, -15:] == 255).all() and (values[-10:] == 255).all()
        assert pixels(path, example_pages.RIGHT) > 500
        assert (pixels(path, example_pages.WRONG) > 2000) == (number > 1)
    text = pages[2].read_text(encoding="utf-8")
    assert text.count("- **") == 2 * number and "original 1, " in text
    assert text.count("(an original)") >= 2 and "![image to text](examples_image" in text
    assert ("None." in text) == (number == 1)
    assert capfd.readouterr().err == ""


def test_red_is_what_stands_ahead_and_only_that(tmp_path):
    """Rows at equal angles; caption k lies nearest to image k + 1."""
    angles = np.arange(6) * np.pi / 3
    image = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    run = make_run(tmp_path, image, np.roll(image, -1, axis=0), np.arange(6))
    gallery = stored.Gallery(run)
    example = examples.of_caption(gallery, 0, 3)
    right, wrong, behind = example_pages.RIGHT, example_pages.WRONG, example_pages.BEHIND
    assert [answer.image for answer in example.predicted][:1] == [1]
    place = [answer.own for answer in example.predicted].index(True)
    colours = example_pages._colours(example)
    assert colours[place] == right and set(colours[:place]) == {wrong}
    assert set(colours[3:]) == {behind}
    good = examples.of_caption(stored.Gallery(make_run(tmp_path, image, image, range(6))), 0, 1)
    assert example_pages._colours(good) == [right] + [behind] * 4


def test_pictures_are_shown_and_missing_ones_counted(tmp_path, drawn, capfd):
    image, text, owner = drawn
    for row in range(1, 12):
        Image.new("RGB", (40, 30), (10, 20, 30)).save(tmp_path / f"{row}.png")
    names = [f"{row}.png" for row in range(12)]
    run = make_run(tmp_path / "run", image, text, owner, pictures=names)
    pages = write(run, drawn, 24, tmp_path)
    tiles = [pixels(path, "#0a141e") / (0.75 * example_pages.SIDE**2) for path in pages[:2]]
    assert tiles[0] > 40 and tiles[1] > 5
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1 and "0.png does not exist" in told[0]
    assert "more" not in told[0] and told[0].endswith("; the captions stand for them")


def test_a_caption_is_typeset():
    assert example_pages.typeset("A dog , and a .5 cat .") == "A dog, and a .5 cat."
    assert example_pages.typeset("two\x1b dots . .") == "two dots.."

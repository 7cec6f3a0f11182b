"""Queries of several sentences and pictures."""

import numpy as np
import pytest
from tiny_run import WORDS, gallery_arrays, make_run, pixel_run, unit

from answering import mixing, search
from answering.mixing import Mixture
from gallery import similarity
from gallery.stored import Gallery
from run import files


def row(**weights):
    return np.array([weights.get(word, 0.0) for word in WORDS])


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("exp") / "hand_made")
    return run, Gallery(run), search.QueryEncoder(run)


def ask(parts, mixture, fold=True):
    run, gallery, encoder = parts
    return mixing.ask_mixture(run, gallery, encoder, mixture, fold)


def test_the_direction_of_the_mean_less_what_is_unwanted(parts):
    mixture = Mixture("red", plus=("blue",), minus=("circle", "star"), minus_weight=0.5)
    asked = ask(parts, mixture)
    expected = row(red=0.5, blue=0.5) - 0.5 * row(circle=0.5, star=0.5)
    np.testing.assert_allclose(asked.vector, unit(expected[None]), atol=1e-6)
    assert asked.vector.dtype == np.float32 and asked.name == "red + blue - circle - star"
    assert (asked.wanted, asked.unwanted) == (["red", "blue"], ["circle", "star"])
    facts = asked.facts()
    assert facts["minus"] == ["circle", "star"] and facts["sentence"] == "red"


def test_pictures_by_name_and_number(parts):
    _, gallery, _ = parts
    asked = ask(parts, Mixture("star", like=("one.png", "1")))
    expected = row(star=1) + gallery.image[0] + gallery.image[1]
    np.testing.assert_allclose(asked.vector, unit(expected[None]), atol=1e-6)
    assert asked.name == "star + like one.png + like two.png" and asked.wanted == ()
    alone = ask(parts, Mixture(like=("2",)))
    answers, note = alone.nearest(gallery, 3)
    assert answers[0].image == 2 and note == "3 nearest of 5 pictures"


def test_a_picture_file(tmp_path):
    from PIL import Image

    run = pixel_run(tmp_path / "run")
    Image.new("RGB", (40, 40), (200, 100, 0)).save(tmp_path / "file.png")
    given = Mixture(like=(str(tmp_path / "file.png"),))
    asked = mixing.ask_mixture(run, Gallery(run), search.QueryEncoder(run), given)
    expected = np.array([[200, 100, 0, 0, 0, 0, 0]], float)
    np.testing.assert_allclose(asked.vector, unit(expected), atol=1e-5)


def test_what_is_told_of_the_parts_is_told_once(parts):
    mixture = Mixture("circel zebra", plus=("circel zebra 2",), minus=("circel 2",))
    found = ask(parts, mixture).wording
    assert found.folded == {"circel": "circle"} and found.unknown == ["zebra"]
    assert len(found.remarks) == 1 and '"2"' in found.remarks[0]
    with pytest.raises(ValueError, match="knows no word of the query"):
        ask(parts, Mixture("circel"), fold=False)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (Mixture(minus=("red",)), "give a sentence or --like, too"),
        (Mixture("red", minus=("red",), minus_weight=1.0), "the parts of the query cancel out"),
        (Mixture("red", minus=("zebra",)), r"knows no word of the query \(zebra\)"),
        (Mixture("", plus=("red",)), "the query is empty"),
        (Mixture(like=("nosuch.png",)), "--like nosuch.png is neither a picture file nor"),
        (Mixture(like=("5",)), "or go by number from 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(parts, mixture, message):
    with pytest.raises(ValueError, match=message):
        ask(parts, mixture)


def test_order_similarity_has_no_means(tmp_path):
    run = make_run(tmp_path / "run")
    arrays = gallery_arrays() | {"similarity": similarity.pack_similarity("order")}
    files.write_arrays(run.projections, arrays)
    with pytest.raises(ValueError, match="order similarity, by which means and differences"):
        mixing.ask_mixture(run, Gallery(run), search.QueryEncoder(run), Mixture("red", ("blue",)))

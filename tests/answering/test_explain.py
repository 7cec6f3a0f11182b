"""Why a match: words left out one by one, places of the picture covered."""

import numpy as np
import pytest
import reference_metrics as reference
from PIL import Image
from tiny_run import WORDS, gallery_arrays, make_run, pixel_run, unit, write_text_tower

from answering import explain, search
from answering.pictures import PictureEncoder
from data.language.words import TOKENISERS, Vocabulary
from gallery import similarity, stored
from run import files


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("exp") / "hand_made")


@pytest.fixture(scope="module")
def encoder(run):
    return search.QueryEncoder(run)


def image_of(*words):
    """(1, D) row of a picture that shows these words."""
    return unit(np.array([[words.count(word) for word in WORDS]], np.float64))


def against(image, kind="cosine"):
    return lambda texts: similarity.choose(kind).pairs(texts, image)


def changes_of(words):
    return np.array([word.change for word in words], np.float64)


# Words.


def test_a_word_contributes_what_the_score_loses_without_it(encoder):
    words, count = explain.word_changes(
        encoder, "A red, RED zebra circle!", against(image_of("red", "circle"))
    )
    assert count == 4 and [word.text for word in words] == ["red", "RED", "zebra", "circle"]
    assert words[2] == explain.Word("zebra", None, explain.UNKNOWN)
    # (2, 1) with (1, 1) is 3 / sqrt(10); without either red 1, without the circle 1 / sqrt(2).
    red, circle = 1 - 3 / 10**0.5, 0.5**0.5 - 3 / 10**0.5
    changes = changes_of([words[0], words[1], words[3]])
    np.testing.assert_allclose(changes, [red, red, circle], atol=1e-6)


@pytest.mark.parametrize("kind", ["cosine", "order"])
def test_words_agree_with_a_loop_over_shorter_sentences(encoder, kind):
    sentence, image = "small red circle above blue star red", image_of("red", "circle", "small")
    words, _ = explain.word_changes(encoder, sentence, against(image, kind))
    split = sentence.split()
    shorter = [" ".join(split[:i] + split[i + 1 :]) for i in range(len(split))]
    rows = encoder.encode([sentence, *shorter]).tolist()
    whole, *rest = (row[0] for row in reference.scores(rows, image.tolist(), kind))
    changes = changes_of(words)
    np.testing.assert_allclose(changes, np.array(rest) - whole, atol=1e-7)
    assert [word.text for word in words] == split and len(np.unique(changes.round(6))) > 2


def test_words_that_matter_alike_count_alike(encoder):
    image = image_of("red", "blue", "circle")
    words, _ = explain.word_changes(encoder, "blue circle red", against(image))
    np.testing.assert_allclose(changes_of(words), [(2 / 3) ** 0.5 - 1] * 3, atol=1e-6)


def test_the_only_known_word_has_no_number(encoder):
    words, _ = explain.word_changes(encoder, "a zebra, red", against(image_of("red")))
    assert words == [
        explain.Word("zebra", None, "unknown"),
        explain.Word("red", None, explain.ONLY),
    ]
    with pytest.raises(ValueError, match="knows no word"):
        explain.word_changes(encoder, "zebra", against(image_of("red")))


def test_punctuation_stays_and_is_no_word(tmp_path):
    run = make_run(tmp_path / "run")
    Vocabulary([",", "red", "circle"], "words").save(run.vocabulary)
    table = np.zeros((6, 7))  # ids 1 to 3, the unknown word and the end
    table[[1, 2, 3], [6, 0, 2]] = 1
    write_text_tower(run.query_tower, table)
    words, count = explain.word_changes(
        search.QueryEncoder(run), "Red, zebra's circle", against(image_of("red", "circle"))
    )
    assert [word.text for word in words] == ["Red", "zebra", "'s", "circle"] and count == 4
    # (1, 1, 1) with (1, 1, 0), and (1, 1) of the comma and a word with the same
    change = 1 / 2 - (2 / 3) ** 0.5
    np.testing.assert_allclose(changes_of([words[0], words[3]]), [change] * 2, atol=1e-6)
    assert words[1].note == words[2].note == explain.UNKNOWN


def test_a_long_sentence_is_explained_as_far_as_its_first_words(encoder):
    words, count = explain.word_changes(encoder, "red blue " * 150, against(image_of("red")))
    assert (len(words), count) == (explain.MOST_WORDS, 300)


@pytest.mark.parametrize(
    ("tokeniser", "sentence", "written", "tokens"),
    [
        ("bag", "A Café-owner's dog!", ["Café", "owner", "dog"], ["cafe", "owner", "dog"]),
        ("bag", "cafe\u0301s (two)", ["cafe\u0301s", "two"], ["cafes", "two"]),
        ("words", "Don't stop.", ["Don", "'t", "stop", "."], ["don", "'t", "stop", "."]),
        ("words", "漢字 STRASSE", ["漢字", "STRASSE"], ["漢字", "strasse"]),
        ("split", "(A man-made, thing?)", ["A", "man", "made", "thing"], None),
        ("split", "dog dog! Dog", ["dog", "dog!", "Dog"], None),
        ("lower_split", "Two DOGS.", ["Two", "DOGS"], ["two", "dogs"]),
        ("words", "x" * 500, ["x" * 500], ["x" * 500]),
        ("bag", "", [], []),
    ],
)
def test_words_are_shown_as_they_were_written(tokeniser, sentence, written, tokens):
    if tokeniser not in TOKENISERS:
        pytest.skip("no such tokeniser")
    found = explain.words_of(sentence, TOKENISERS[tokeniser])
    assert [text for text, _ in found] == written
    assert [token for _, token in found] == (tokens or written)


@pytest.mark.parametrize("tokeniser", sorted(TOKENISERS))
def test_the_tokens_are_the_tokenisers_own_whatever_is_written(tokeniser):
    rng, letters = np.random.default_rng(0), list("aB.- 'é\u0301漢_,1(\u200b\u00ad\ufdfaß㎏½")
    for _ in range(200):
        sentence = "".join(rng.choice(letters, 12))
        tokens = [token for _, token in explain.words_of(sentence, TOKENISERS[tokeniser])]
        assert tokens == TOKENISERS[tokeniser](sentence)
        # what is encoded without a word is read as it is meant
        assert TOKENISERS[tokeniser](" ".join(tokens)) == tokens


# Places.


def looks_at(rows, columns, seen=None):
    """A score that is the mean of one part of the pictures; `seen` keeps how many came at once."""

    def score(pictures):
        if seen is not None:
            seen.append(len(pictures))
        return np.array([np.asarray(p, float)[rows, columns].mean() for p in pictures])

    return score


def test_the_map_lights_exactly_where_the_score_looks():
    pixels = np.full((64, 96, 3), 10, np.uint8)
    pixels[:8, :12] = 250  # one cell of 8 x 8
    score = looks_at(slice(0, 8), slice(0, 12))
    changes = explain.place_changes(score, Image.fromarray(pixels))
    assert changes.shape == (7, 7) and (np.delete(changes.ravel(), 0) == 0).all()
    mean = np.round(pixels.mean())
    assert changes[0, 0] == mean - 250
    right = explain.place_changes(looks_at(slice(0, 8), slice(84, 96)), Image.fromarray(pixels))
    assert right[0, 6] == mean - 10 and np.count_nonzero(right) == 1


def test_the_map_agrees_with_a_loop_and_comes_in_small_batches():
    rng, seen = np.random.default_rng(0), []
    pixels = rng.integers(0, 256, (40, 30, 3), np.uint8)
    score = looks_at(slice(5, 30), slice(7, 19), seen)
    changes = explain.place_changes(score, Image.fromarray(pixels), 5)
    assert max(seen) == explain.AT_ONCE and sum(seen) == 26
    grey = np.round(pixels.mean(axis=(0, 1)))
    for row in range(5):
        for column in range(5):  # ceil(40 / 3) = 14 rows and 10 columns
            covered = pixels.astype(float)
            top, left = round(row * 26 / 4), round(column * 20 / 4)
            covered[top : top + 14, left : left + 10] = grey
            expected = covered[5:30, 7:19].mean() - pixels[5:30, 7:19].mean()
            assert changes[row, column] == pytest.approx(expected)


def test_the_map_of_a_mirrored_picture_is_mirrored_and_of_a_plain_one_zero():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
    left = explain.place_changes(looks_at(slice(4, 20), slice(0, 9)), Image.fromarray(pixels))
    mirrored = Image.fromarray(pixels[:, ::-1].copy())
    right = explain.place_changes(looks_at(slice(4, 20), slice(23, 32)), mirrored)
    np.testing.assert_allclose(right, left[:, ::-1], atol=1e-12)
    plain = Image.new("RGB", (9, 7), (1, 200, 30))
    assert not explain.place_changes(looks_at(slice(None), slice(None)), plain).any()


def test_large_and_tiny_pictures_have_a_map():
    sizes = []

    def score(pictures):
        sizes.extend(picture.size for picture in pictures)
        return np.zeros(len(pictures))

    for size in ((4000, 2000), (1, 1), (1, 3000)):
        assert explain.place_changes(score, Image.new("RGB", size), 2).shape == (2, 2)
    assert list(dict.fromkeys(sizes)) == [(1448, 724), (1, 1), (1, 3000)]


@pytest.mark.parametrize("side", [1, 2, 7, 64, 375])
def test_patches_go_from_end_to_end_each_half_over_the_next(side):
    found = explain.patches(side, 7)
    length = -(-side // 4)
    assert all(patch.stop - patch.start == length for patch in found)
    assert (found[0].start, found[-1].stop, len(found)) == (0, side, 7)
    steps = np.diff([patch.start for patch in found])
    assert (steps <= length).all() and np.ptp(steps) <= 1


# Pictures.


def test_the_corner_that_the_tower_looks_at_lights_up_behind_an_encoder(tmp_path):
    run = pixel_run(tmp_path / "run")
    pixels = np.full((28, 28, 3), (0, 0, 255), np.uint8)
    pixels[-7:, :7] = (255, 0, 0)  # all the red there is
    gallery, encoder = stored.Gallery(run), search.QueryEncoder(run)
    explainer = explain.Explainer(run, gallery, encoder, 3)
    picture, red = Image.fromarray(pixels), "red circle"  # axes 0 and 2 of the joint space
    found = explainer("p", red, PictureEncoder(run)([picture]), picture)
    assert found.places is not None and np.argmin(found.places) == 6  # the lower left
    assert found.places[0, 2] == found.places[0, 1] != 0  # less blue, more of the mean: alike


def test_the_order_similarity_has_the_sentence_first(tmp_path):
    run = pixel_run(tmp_path / "run")
    arrays = gallery_arrays() | {"similarity": similarity.pack_similarity("order")}
    files.write_arrays(run.projections, arrays)
    gallery, encoder = stored.Gallery(run), search.QueryEncoder(run)
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    pixels[:, 14:, 0] = 0
    picture, encode = Image.fromarray(pixels), PictureEncoder(run)
    found = explain.Explainer(run, gallery, encoder, 2)("p", "red", encode([picture]), picture)
    covered = [pixels.copy() for _ in range(4)]
    for i, one in enumerate(covered):  # patches of ceil(2 / 3 * 28) = 19
        top, left = 9 * (i // 2), 9 * (i % 2)
        one[top : top + 19, left : left + 19] = np.round(pixels.mean(axis=(0, 1)))
    rows = encode([picture, *map(Image.fromarray, covered)]).tolist()
    whole, *rest = reference.scores(encoder.encode(["red"]).tolist(), rows, "order")[0]
    assert found.score == pytest.approx(whole, abs=1e-6)
    assert found.places is not None
    np.testing.assert_allclose(found.places.ravel(), np.array(rest) - whole, atol=1e-6)


# What is told.


def test_a_run_on_ready_vectors_explains_words_alone(run):
    told, gallery = [], stored.Gallery(run)
    explainer = explain.Explainer(run, gallery, search.QueryEncoder(run), tell=told.append)
    found = explainer("one.png", "red star", gallery.image[:1], Image.new("RGB", (9, 9)))
    assert found.places is None and found.score == pytest.approx(0.5)
    assert told == [f"the words are explained, the picture is not: {run} cannot describe new "
                    "pictures: its data came as ready vectors"]  # fmt: skip


def explanation(**changed):
    words = [explain.Word("red", -0.5), explain.Word("zebra", None, "unknown")]
    words.append(explain.Word("in\x1b[0m", 0.25))
    places = np.array([[-0.5, 0.25], [0, 0.125]])
    parts = explain.Explanation("a.png", "red zebra in", 0.75, words, 4, places, None)
    return parts._replace(**changed)


def test_the_table_says_it_in_words_numbers_and_bars():
    lines = explanation().table(38).splitlines()
    assert lines == [
        "why a.png: 0.7500 changes without a w…",
        "  red     -0.5000  -------------------",
        "  zebra   unknown",
        "  in [0m  +0.2500  ++++++++++",
        "  (the first 3 of 4 words)",
        "and where a grey patch covers the pic…",
        "  -0.500 +0.250",
        "  +0.000 +0.125",
        "below 0: that word or place supports…",
    ]
    wide = explanation(places=np.zeros((20, 20))).table(60).splitlines()
    assert wide[6] == "  (too wide for this terminal: see the picture, or --json)"
    assert max(map(len, wide)) <= 60
    assert "grey" not in explanation(places=None).table(60)


def test_json_has_every_number():
    facts = explanation().facts()
    assert facts["places"] == [[-0.5, 0.25], [0, 0.125]] and facts["num_words"] == 4
    assert facts["words"][:2] == [
        {"word": "red", "change": -0.5},
        {"word": "zebra", "change": None, "note": "unknown"},
    ]

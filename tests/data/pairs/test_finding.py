"""Pairs of words: names, captions that say them, occurrence files, spaCy's dependencies."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from data.formats import records
from data.pairs import finding
from data.scenes import sentences, world

CAPTIONS = ["A brown puppy sits .", "a cat on a brown sofa", "The cat is sitting .", ""]


def split(captions, owner, names, name="train"):
    return SimpleNamespace(
        name=name, captions=captions, caption_image=np.array(owner), image_names=names
    )


def test_the_nine_pairs_of_the_paper():
    chosen = finding.parse_pairs("paper", "coco")
    assert [pair.name for pair in chosen] == list(finding.PAPER) == sorted(finding.PAPER)
    assert [pair.kind for pair in chosen].count("verbs") == 3
    brown, car = chosen[0], chosen[7]
    assert {"brown", "brownish", "dark-brown", "light-brown"} <= brown.modifiers
    assert {"car", "bus", "truck", "vans", "taxi", "suv"} <= car.nouns


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("browndog", "coco", "no pair of lexicon.json: expected ADJECTIVE_NOUN"),
        ("brown_unicorn", "coco", "nouns ball, bench"),
        ("mauve_dog", "coco", "adjectives big, black"),
        ("brown_dog", "scenes", "no pair of the scenes"),
        ("red_dog", "scenes", "nouns circle, cross"),
        (" , ", "coco", "no pair was named"),
    ],
)
def test_unknown_pairs_are_refused_with_the_known_words(name, data, said):
    with pytest.raises(ValueError, match=said):
        finding.parse_pairs(name, data)


def test_names_are_read_once_each_and_in_order():
    chosen = finding.parse_pairs(" sit_cat,brown_dog, sit_cat", "flickr8k")
    assert [pair.name for pair in chosen] == ["sit_cat", "brown_dog"]


def test_contained_by_eye():
    chosen = finding.parse_pairs("brown_dog,sit_cat,sit_dog", "flickr8k")
    expected = [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert finding.contained(CAPTIONS, chosen).astype(int).tolist() == expected
    found = finding.scan_captions(CAPTIONS, chosen)
    assert found.nouns.astype(int).tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found.modifiers[:, 0].tolist() == [True, True, False, False]
    assert np.all(found.said <= (found.nouns & found.modifiers))


def test_one_caption_at_a_time_is_the_same():
    chosen = finding.parse_pairs("paper", "coco")
    captions = [f"a {word} {noun} ." for word in ("brown", "red") for noun in ("dog", "chair")]
    together = finding.contained(captions, chosen)
    assert np.array_equal(together, [finding.contained([one], chosen)[0] for one in captions])


def test_scenes_are_read_by_their_grammar():
    _, written = world.make_scenes("validation", 40)
    captions = [caption for own in written for caption in own]
    names = sorted({name for caption in captions for name in sentences.pairs(caption)})
    chosen = finding.parse_pairs(names, "scenes")
    found = finding.contained([caption.text for caption in captions], chosen)
    for row, caption in enumerate(captions):
        said = {chosen[place].name for place in np.flatnonzero(found[row])}
        assert said == sentences.pairs(caption)
    verbs = {verb for own in sentences.PAIR_VERBS.values() for verb in own}
    assert {pair.name.split("_")[0] for pair in chosen if pair.kind == "verbs"} <= verbs


def test_what_is_no_sentence_of_the_scenes_says_nothing():
    chosen = finding.parse_pairs("red_circle", "scenes")
    texts = ["a red circle", "red red circle circle", "a dog", "", "a scarlet disc and a star"]
    assert finding.contained(texts, chosen)[:, 0].tolist() == [True, False, False, False, True]


def test_count_images():
    said = np.array([[1, 0], [1, 1], [0, 0], [1, 0]], bool)
    counts = finding.count_images(split([], [0, 0, 1, 2], ["a", "b", "c"]), said)
    assert counts.tolist() == [[2, 1], [0, 0], [1, 0]]


def test_occurrence_files_go_there_and_back(tmp_path):
    chosen = finding.parse_pairs("brown_dog,sit_cat", "coco")
    names = ["COCO_val2014_000000000042.jpg", "COCO_train2014_000000000007.jpg", "x.jpg"]
    splits = [
        split([CAPTIONS[0], "a dog", CAPTIONS[2], "a tree"], [0, 0, 1, 2], names),
        split(["two brown dogs", CAPTIONS[0]], [0, 0], ["9.jpg"], "test"),
    ]
    scans, tables = finding.scan_splits(chosen, splits)
    assert scans["train"][0].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert scans["test"][1].tolist() == [[True, False], [True, False]]
    paths = [finding.write_occurrences(tmp_path, pair, tables[pair.name]) for pair in chosen]
    assert [path.name for path in paths] == ["brown_dog.json", "sit_cat.json"]
    stored = json.loads(paths[0].read_text())
    assert set(stored) == {"nouns", "adjectives", finding.DATA_KEY}
    assert stored[finding.DATA_KEY] == {
        "42": {
            "pair_occurrences": 1,
            "noun_occurrences": 2,
            "adjective_occurrences": 1,
            "coco_split": "train",
        },
        "9": {
            "pair_occurrences": 2,
            "noun_occurrences": 2,
            "adjective_occurrences": 2,
            "coco_split": "test",
        },
    }
    assert "verb_occurrences" in json.loads(paths[1].read_text())[finding.DATA_KEY]["7"]
    for path, pair in zip(paths, chosen, strict=True):
        read, counts = finding.read_occurrences(path)
        assert (read.name, read.kind, read.nouns) == (pair.name, pair.kind, pair.nouns)
        assert finding.contained(CAPTIONS, [read]).tolist() == (
            finding.contained(CAPTIONS, [pair]).tolist()
        )
        found = finding.file_counts(counts, names, path)
        assert found.tolist() == [1, 0, 0] if pair.kind == "adjectives" else [0, 1, 0]


@pytest.mark.parametrize(
    "content",
    [[], {"nouns": ["dog"]}, {"nouns": [], "adjectives": [], finding.DATA_KEY: {"1": {}}}],
)
def test_files_of_another_layout_are_refused(tmp_path, content):
    path = tmp_path / "brown_dog.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"brown_dog\.json is no occurrence file"):
        finding.read_occurrences(path)


@pytest.mark.parametrize(("empty", "said"), [("nouns", "no nouns"), ("verbs", "no verbs")])
def test_files_without_words_are_refused(tmp_path, empty, said):
    stored = {"nouns": ["dog"], "verbs": ["sit"], finding.DATA_KEY: {"1": {"pair_occurrences": 1}}}
    (tmp_path / "sit_dog.json").write_text(json.dumps({**stored, empty: []}))
    with pytest.raises(ValueError, match=rf"sit_dog\.json names {said}"):
        finding.read_occurrences(tmp_path / "sit_dog.json")


def test_a_file_of_other_images_is_refused():
    with pytest.raises(ValueError, match=r"f\.json knows none of the 1 images"):
        finding.file_counts({"5": 1}, ["6.jpg"], "f.json")
    names = [f"{number}.jpg" for number in range(3000)]
    with pytest.raises(ValueError, match=r"knows 2 of the 3,000 images \(0, 1, 2, ...\)"):
        finding.file_counts({"5": 1, "7": 2, "9999": 1}, names, "f.json")
    assert finding.file_counts({"5": 1, "7": 2, "9": 0}, names, "f.json").sum() == 3


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("COCO_val2014_000000391895.jpg", "391895"),
        ("val2014/COCO_val2014_000000391895.jpg", "391895"),
        ("000000000139.jpg", "139"),
        ("1000092795.jpg", "1000092795"),
        ("1000268201_693b08cb0e.jpg", "1000268201_693b08cb0e"),
        ("train-00012", "train-00012"),
    ],
)
def test_ids_of_images(name, known):
    assert records.image_id(name) == known


# spaCy, by tokens as it gives them.


def parsed(*rows):
    """Tokens of (word, lemma, part of speech, dependency, place of the head)."""
    tokens = [
        SimpleNamespace(lower_=word, lemma_=lemma, pos_=pos, dep_=dep)
        for word, lemma, pos, dep, _ in rows
    ]
    for token, row in zip(tokens, rows, strict=True):
        token.head = tokens[row[4]]
        token.children = [
            other
            for other, own in zip(tokens, rows, strict=True)
            if tokens[own[4]] is token and other is not token
        ]
    return tokens


def test_dependencies():
    doc = parsed(  # black and white dogs who are old sit
        ("black", "black", "ADJ", "amod", 3),
        ("and", "and", "CCONJ", "cc", 0),
        ("white", "white", "ADJ", "conj", 0),
        ("dogs", "dog", "NOUN", "nsubj", 4),
        ("sit", "sit", "VERB", "ROOT", 4),
    )
    assert finding.dependency_facts(doc) == (
        {("black", "dogs"), ("white", "dogs")},
        {("sit", "dogs")},
    )
    doc = parsed(  # the dog is brown
        ("dog", "dog", "NOUN", "nsubj", 1),
        ("is", "be", "AUX", "ROOT", 1),
        ("brown", "brown", "ADJ", "acomp", 1),
    )
    assert finding.dependency_facts(doc) == ({("brown", "dog")}, set())
    doc = parsed(("man", "man", "NOUN", "ROOT", 0), ("eating", "eat", "VERB", "acl", 0))
    assert finding.dependency_facts(doc) == (set(), {("eat", "man")})


def test_spacy_that_is_not_installed_is_said(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ValueError, match="pip install spacy"):
        finding.contained(["a brown dog"], finding.parse_pairs("brown_dog", "coco"), "spacy")
    with pytest.raises(ValueError, match="expected one of rules, spacy"):
        finding.contained(["a brown dog"], finding.parse_pairs("brown_dog", "coco"), "guess")

"""Held-out pairs: which images stay in training, what becomes of the rest, and bad input."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_data import captions_of, opened, put

from data import datasets, pictures
from data.formats import records
from data.pairs import finding, heldout
from data.scenes import sentences


def settings(**given):
    values = {"data": "flickr8k", "heldout": None, "heldout_file": None, "pair_finder": "rules"}
    return SimpleNamespace(**{**values, **given})


CAPTIONS = {
    "t0": ["A brown dog runs .", "a cat"],
    "t1": ["a man", "a woman"],
    "t2": ["a dog", "A puppy that is brown ."],
    "t3": ["a brown sofa beside a dog", "a cat is sitting"],
    "v0": ["a brown dog"],
    "x0": ["a brown dog", "the dog is brown"],
}


@pytest.fixture
def flickr(tmp_path):
    """Four training images, one of validation, one of test."""
    lines = [f"{name}.jpg#{k}\t{c}" for name, own in CAPTIONS.items() for k, c in enumerate(own)]
    put(tmp_path / "Flickr8k.token.txt", lines)
    for part, sign in (("train", "t"), ("dev", "v"), ("test", "x")):
        names = [f"{name}.jpg" for name in CAPTIONS if name[0] == sign]
        put(tmp_path / f"Flickr_8k.{part}Images.txt", names)
    return tmp_path


def test_images_that_say_a_pair_are_the_validation_set(flickr):
    splits = heldout.hold_out(opened("flickr8k", flickr), settings(heldout="brown_dog"))
    assert splits["train"].image_names == ["t1.jpg", "t3.jpg"]
    assert splits["validation"].image_names == ["t0.jpg", "t2.jpg"]
    assert splits["test"].image_names == ["x0.jpg"]  # grades what was held out
    for name in ("train", "validation"):
        split = splits[name]
        assert split.name == name
        for image, file in enumerate(split.image_names):
            assert captions_of(split, image) == CAPTIONS[file.removesuffix(".jpg")]
    two = heldout.hold_out(opened("flickr8k", flickr), settings(heldout="brown_dog,sit_cat"))
    assert two["train"].image_names == ["t1.jpg"]


def test_no_training_caption_says_a_pair_on_scenes(tmp_path):
    whole = opened("scenes", None, tmp_path, limit=120)
    asked = settings(data="scenes", heldout="red_circle,touch_star,small_heart")
    splits = heldout.hold_out(whole, asked)
    names = set(asked.heldout.split(","))

    def said(split):
        return [sentences.pairs(sentences.read_sentence(text)) & names for text in split.captions]

    assert not any(said(splits["train"]))
    held = splits["validation"]
    found = np.zeros(held.num_images, bool)
    np.logical_or.at(found, held.caption_image, list(map(bool, said(held))))
    assert found.all()
    assert len(splits["train"].image_names) + held.num_images == 120
    # Pictures, concepts and truth go along, and pictures are found again.
    first = whole["train"].image_names.index(held.image_names[3])
    assert np.array_equal(held.pictures[3], whole["train"].pictures[first])
    assert np.array_equal(held.concepts[3], whole["train"].concepts[first])
    reference = pictures.picture_references(held)[3]
    assert np.array_equal(np.asarray(pictures.load_picture(reference)), held.pictures[3])
    fits = held.fits()
    assert fits.shape == (held.num_captions, held.num_images)
    assert fits[np.arange(held.num_captions), held.caption_image].all()
    assert held.fits().sum() < fits.size
    assert datasets.fingerprint(held) != datasets.fingerprint(whole["train"])


def test_run_settings_reach_it(flickr):
    common = {"cache_dir": flickr / "cache", "validation_images": 1, "data_seed": 0, "limit": 0}
    common |= {"coco_split": "whole", "nuswide_test": "all"}
    asked = settings(data_dir=str(flickr), heldout="brown_dog", **common)
    assert datasets.open_run_data(asked)["train"].image_names == ["t1.jpg", "t3.jpg"]
    asked = settings(data_dir=str(flickr), **common)
    assert datasets.open_run_data(asked)["train"].num_images == 4


def test_occurrence_files_hold_out_what_they_count(flickr):
    splits = opened("flickr8k", flickr)
    pair = finding.parse_pairs("sit_cat", "flickr8k")[0]
    table = {"t1": {"pair_occurrences": 2}, "t0": {"pair_occurrences": 0}}
    stored = {
        "nouns": ["cat", "cats"],
        "verbs": ["sit", "sits", "sitting"],
        finding.DATA_KEY: table,
    }
    path = finding.write_occurrences(flickr, pair, stored)
    for given in (str(path), str(flickr)):  # a file, a folder of them
        found = heldout.hold_out(splits, settings(heldout_file=given))
        assert found["validation"].image_names == ["t1.jpg"]
    both = heldout.hold_out(splits, settings(heldout="brown_dog", heldout_file=str(path)))
    assert both["train"].image_names == ["t3.jpg"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"heldout": "brown_unicorn"}, "'brown_unicorn' is no pair of lexicon.json"),
        ({"heldout": "fly_bird"}, "none of the 4 training images have captions that say fly_bird"),
        ({"heldout_file": "nowhere.json"}, r"nowhere\.json: expected an occurrence file"),
        ({"heldout_file": "a.json", "data": "scenes"}, "occurrence files are of real captions"),
        ({"heldout": "brown_dog", "pair_finder": "guess"}, "finder is 'guess'"),
    ],
)
def test_bad_input(flickr, given, said):
    with pytest.raises(ValueError, match=said):
        heldout.hold_out(opened("flickr8k", flickr), settings(**given))


def test_nothing_left_to_train_on_is_refused(flickr):
    put(flickr / "Flickr_8k.trainImages.txt", ["t0.jpg", "t2.jpg"])
    with pytest.raises(ValueError, match="all of the 2 training images"):
        heldout.hold_out(opened("flickr8k", flickr), settings(heldout="brown_dog"))


def test_a_folder_without_files_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: expected an occurrence file"):
        finding.gather_pairs(None, str(tmp_path / "empty"), "coco")
    stored = tmp_path / "a.json"
    stored.write_text(json.dumps({"nouns": []}))
    with pytest.raises(ValueError, match=r"a\.json is no occurrence file"):
        finding.gather_pairs(None, str(stored), "coco")


def test_rows_of_large_arrays_are_not_copied(monkeypatch):
    array = np.arange(24.0).reshape(6, 2, 2)
    monkeypatch.setattr(records, "LARGE_BYTES", 0)
    some = records.take_rows(array, [5, 0, 3])
    assert isinstance(some, records.Rows)
    assert (some.shape, len(some), some.dtype, some.ndim) == ((3, 2, 2), 3, array.dtype, 3)
    assert np.array_equal(some[np.array([2, 0])], array[[3, 5]])
    assert np.array_equal(some[1:], array[[0, 3]])
    again = records.take_rows(some, [2, 0])
    assert again.array is array
    assert np.array_equal(again[:], array[[3, 5]])
    assert np.array_equal(np.concatenate([block for _, block in records.blocks(some)]), some[:])

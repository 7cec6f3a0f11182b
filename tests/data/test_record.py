"""Which data a run knows: other data are refused by what differs, images trained on always."""

import dataclasses

import numpy as np
import pytest
from tiny_data import opened, precomp, put

from data import record
from run import files, manifest
from run.folder import Run


@pytest.fixture
def known(tmp_path):
    """A run that has been begun, and the splits that it was begun with."""
    precomp(tmp_path / "data")
    rng = np.random.default_rng(0)
    splits = {
        name: dataclasses.replace(split, vectors=rng.normal(size=(split.num_images, 9)))
        for name, split in opened("precomp", tmp_path / "data").items()
    }
    run = Run(tmp_path / "run")
    manifest.begin(run.folder)
    files.write_json(run.data, record.describe(splits))
    return run, splits


def taken(split, rows):
    """A split of one caption for each of some rows of another one."""
    return dataclasses.replace(
        split,
        image_names=[split.image_names[row] for row in rows],
        captions=[f"caption {row}" for row in rows],
        caption_image=np.arange(len(rows), dtype=np.int32),
        vectors=split.vectors[rows],
        pictures=None,
    )


def test_the_same_data_are_known_again(known):
    run, splits = known
    for split in splits.values():
        record.check_split(run, split)
    record.check_resumed(run, record.describe(splits))


def test_what_differs_is_told(known):
    run, splits = known
    test = splits["test"]
    captions = dataclasses.replace(test, captions=["changed", *test.captions[1:]])
    for other, says in (
        (captions, "its captions, concepts or vectors are others"),
        (taken(test, [0, 1]), r"1 images are gone \(test2.jpg\)"),
        (dataclasses.replace(test, vectors=test.vectors + 1), "3 images have other contents"),
        (
            dataclasses.replace(test, image_names=["a", *test.image_names[1:]]),
            r"1 images are new \(a\) and 1 images are gone \(test0.jpg\)",
        ),
    ):
        with pytest.raises(ValueError, match=f"trained beside other data: of the test .*{says}"):
            record.check_split(run, other)
        record.check_split(run, other, other=True)
        with pytest.raises(ValueError, match="begun with other data: of the train split"):
            changed = splits | {"train": dataclasses.replace(other, name="train")}
            record.check_resumed(run, record.describe(changed))


@pytest.mark.parametrize("other", [False, True])
def test_an_image_that_was_trained_on_is_never_graded(known, other):
    run, splits = known
    leaked = dataclasses.replace(taken(splits["train"], [2, 0]), name="test")
    renamed = dataclasses.replace(leaked, image_names=["new", "newer"])
    for split in (leaked, renamed):
        names = ", ".join(split.image_names)
        with pytest.raises(ValueError, match=f"2 of 2 images .*was trained on: {names}; grade"):
            record.check_split(run, split, other)


def test_names_count_where_contents_say_nothing(known):
    run, splits = known
    tags = {
        name: dataclasses.replace(split, vectors=np.ones((split.num_images, 9)))
        for name, split in splits.items()
    }
    assert set(record.contents_of(tags["train"])) == {""}
    files.write_json(run.data, record.describe(tags))
    record.check_split(run, tags["test"])
    leaked = dataclasses.replace(taken(tags["train"], [1]), name="test")
    with pytest.raises(ValueError, match="was trained on: train1"):
        record.check_split(run, leaked, other=True)


def test_a_table_that_was_sorted_or_grew_since_is_refused(tmp_path):
    rows = [f"{image},caption {image} {k}" for image in range(19, -1, -1) for k in range(2)]
    table = tmp_path / "data/t.csv"
    put(table, ["image,caption", *rows])
    np.save(table.with_name("features.npy"), np.random.default_rng(0).normal(size=(21, 5)))
    splits = opened("csv", table.parent)
    run = Run(tmp_path / "run")
    manifest.begin(run.folder)
    files.write_json(run.data, record.describe(splits))
    for changed, says in (
        (sorted(rows), "its images stand in another order"),
        (["20,new", *rows], "1 images are new"),
        (rows[2:], "1 images are gone"),
        ([row.replace("caption 9 1", "edited") for row in rows], "its captions, concepts or"),
    ):
        put(table, ["image,caption", *changed])
        now = opened("csv", table.parent)
        with pytest.raises(ValueError, match=says):
            record.check_resumed(run, record.describe(now))
            for split in now.values():
                record.check_split(run, split)


def test_no_run_starts_from_one_that_saw_what_it_is_judged_on(known):
    run, splits = known
    now = record.describe(splits)
    assert record.check_started(run, now) == now
    train, test = splits["train"], splits["test"]
    for name in ("validation", "test"):
        mixed = splits | {name: dataclasses.replace(taken(train, [0]), name=name)}
        with pytest.raises(ValueError, match=f"1 of 1 images of the {name} split are images that"):
            record.check_started(run, record.describe(mixed))
    # What an earlier run was trained on is known to the later ones, too.
    fewer = splits | {"train": dataclasses.replace(taken(train, [0, 1]), name="train")}
    second = Run(run.folder.with_name("second"))
    manifest.begin(second.folder)
    files.write_json(second.data, record.check_started(run, record.describe(fewer)))
    seen = dataclasses.replace(taken(train, [3]), name="test")
    for other in (False, True):
        with pytest.raises(ValueError, match="1 of 1 images of the test split are images that"):
            record.check_split(second, seen, other=other)
    third = fewer | {"test": seen}
    with pytest.raises(ValueError, match="1 of 1 images of the test split"):
        record.check_started(second, record.describe(third))
    record.check_split(second, test)

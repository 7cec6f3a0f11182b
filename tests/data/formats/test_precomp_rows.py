"""VSE++ arrays with a row for each caption, in any order; ids that only count."""

import numpy as np
import pytest
from tiny_data import captions_of, opened, precomp, put

RNG = np.random.default_rng(0)


def repeated(folder, owner, vectors=None, ids=None):
    """A training split of a row for each caption; caption r of image i is `i r`."""
    precomp(folder, each=5, ids=False)
    vectors = RNG.normal(size=(max(owner) + 1, 6)) if vectors is None else vectors
    np.save(folder / "train_ims.npy", np.asarray(vectors, np.float32)[owner])
    put(folder / "train_caps.txt", [f"image {i} row {r}" for r, i in enumerate(owner)])
    if ids:
        put(folder / "train_ids.txt", ids)
    return opened("precomp", folder)["train"]


def check(split, owner):
    """Each image has its own captions and no other's, and its vector."""
    count = len(set(owner))
    assert (split.num_images, split.num_captions, len(split.vectors)) == (count, len(owner), count)
    for row in range(count):
        images = {text.split()[1] for text in captions_of(split, row)}
        assert len(images) == 1
        assert len(captions_of(split, row)) == list(map(str, owner)).count(images.pop())


ORDERS = {
    "runs": np.repeat(np.arange(6), 5),
    "tiles": np.tile(np.arange(6), 5),
    "any": RNG.permutation(np.repeat(np.arange(6), 5)),
    "unequal runs": np.repeat(np.arange(6), [5, 6, 5, 7, 5, 4]),
    "unequal": RNG.permutation(np.repeat(np.arange(6), [5, 6, 5, 7, 5, 1])),
}


@pytest.mark.parametrize("order", ORDERS)
def test_rows_repeated_in_any_order_are_one_image(tmp_path, order, caplog):
    owner = ORDERS[order].tolist()
    check(repeated(tmp_path, owner), owner)
    assert f"train_ims.npy: equal rows are one image: {len(owner)} rows, of which 6 are kept" in (
        caplog.text
    )


@pytest.mark.parametrize("order", ["runs", "tiles"])
def test_two_images_with_one_vector_stay_two(tmp_path, order):
    vectors = RNG.normal(size=(6, 6))
    vectors[4] = vectors[3]
    owner = ORDERS[order].tolist()
    check(repeated(tmp_path / "alone", owner, vectors), owner)
    owner = ORDERS["any"].tolist()
    ids = [f"{image}.jpg" for image in owner]
    split = repeated(tmp_path / "ids", owner, vectors, ids)
    check(split, owner)
    assert sorted(split.image_names) == [f"{image}.jpg" for image in range(6)]


def test_repeated_ids_come_before_runs(tmp_path):
    """Runs of 2, 4, 2 and 2 rows: two images of four captions would else be made of the 4."""
    owner = np.repeat(np.arange(4), [2, 4, 2, 2]).tolist()
    split = repeated(tmp_path, owner, ids=[f"{image}.jpg" for image in owner])
    check(split, owner)
    assert split.image_names == [f"{image}.jpg" for image in range(4)]


def test_rows_that_are_no_repeats_stay(tmp_path, caplog):
    """One caption each: two of three equal rows with other ids are other images."""
    vectors = RNG.normal(size=(6, 6))
    vectors[4] = vectors[3]
    ids = [f"{image}.jpg" for image in range(6)]
    check(repeated(tmp_path / "ids", range(6), vectors, ids), range(6))
    assert "3.jpg = 4.jpg" in caplog.text
    merged = repeated(tmp_path / "none", range(6), vectors)
    assert merged.num_images == 5 and captions_of(merged, 3) == ["image 3 row 3", "image 4 row 4"]
    alike = repeated(tmp_path / "collapsed", range(6), np.ones((6, 6)))
    assert alike.num_images == 6  # of one vector only nothing is known


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("form", ["{}", "{:04d}"])
@pytest.mark.parametrize("each", [1, 5])
def test_ids_that_only_count(tmp_path, start, form, each):
    precomp(tmp_path)
    for word, count in (("train", 4), ("dev", 2), ("test", 3)):
        numbers = [form.format(start + n) for n in range(count) for _ in range(each)]
        put(tmp_path / f"{word}_ids.txt", numbers)
    splits = opened("precomp", tmp_path)
    assert splits["validation"].image_names == ["dev-0", "dev-1"]
    put(tmp_path / "dev_ids.txt", [str(start + n) for n in range(10)])  # of captions
    assert opened("precomp", tmp_path)["validation"].image_names == ["dev-0", "dev-1"]


def test_the_vectors_of_several_folders_stand_side_by_side(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    precomp(first)
    alone = opened("precomp", first)
    second.mkdir()
    for word, split in (("train", "train"), ("dev", "validation"), ("test", "test")):
        rows = np.arange(2.0 * alone[split].num_images, dtype="f").reshape(-1, 2)
        np.save(second / f"{word}_ims.npy", rows)
    both = opened("precomp", f"{first},{second}")
    for split, found in both.items():
        own, more = np.asarray(alone[split].vectors), found.num_images
        expected = np.concatenate([own, np.arange(2.0 * more).reshape(-1, 2)], axis=1)
        np.testing.assert_array_equal(found.vectors, expected)
        assert found.captions == alone[split].captions
        assert found.origin == str(first)
    np.save(second / "dev_ims.npy", np.zeros((3, 2), "f"))
    with pytest.raises(ValueError, match=r"dev_ims\.npy has shape \(3, 2\), .* need the same rows"):
        opened("precomp", f"{first},{second}")
    np.save(second / "dev_ims.npy", np.zeros((2, 2), "f"))
    for kept in ("caps", "ids"):  # its own, in another order
        lines = (first / f"train_{kept}.txt").read_text().splitlines()
        put(second / f"train_{kept}.txt", [line.upper() for line in lines])
        alike = kept == "caps"  # whose case plays no part
        assert not alike or opened("precomp", f"{first},{second}")
        put(second / f"train_{kept}.txt", lines)
        assert opened("precomp", f"{first},{second}")
        put(second / f"train_{kept}.txt", lines[::-1])
        says = rf"train_{kept}\.txt: row 0 \(from 0\) is of 'train ?3.*, that of .*'train ?0.* sort"
        with pytest.raises(ValueError, match=says):
            opened("precomp", f"{first},{second}")
        (second / f"train_{kept}.txt").unlink()
    put(second / "train_ids.txt", ["3", "2", "1", "0"])  # other names, the same captions
    put(second / "train_caps.txt", [f"train {n} {k}" for n in range(4) for k in range(2)])
    assert opened("precomp", f"{first},{second}")
    with pytest.raises(ValueError, match=r"csv lies in one folder, but data_dir .* names several"):
        opened("csv", f"{first},{second}")

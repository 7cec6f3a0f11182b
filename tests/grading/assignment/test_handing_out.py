"""What students get: all of it, but nothing of the key."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tiny_data
from PIL import Image

from data import datasets
from grading.assignment import handing_out
from grading.assignment import key as keys


def hand_out(splits, out):
    handing_out.make_assignment(splits, out)
    students = out / "students"
    return keys.read_key(out / "key.npz"), students, tiny_data.opened("csv", students, out / "c")


def with_vectors(folder):
    """A precomp set of three splits; each image has rows of its own."""
    tiny_data.precomp(folder, each=3)
    for name in ("train", "dev", "test"):
        rows = np.random.default_rng(len(name)).standard_normal((40, 9)).astype(np.float16)
        np.save(folder / f"{name}_ims.npy", rows + (name == "test"))
        words = [f'{name} "{image}", caption {k}' for image in range(40) for k in range(3)]
        tiny_data.put(folder / f"{name}_caps.txt", words)
        tiny_data.put(folder / f"{name}_ids.txt", [f"{name}{image}.jpg" for image in range(40)])
    return tiny_data.opened("precomp", folder)


def test_students_get_the_data_and_the_key_says_which_belong_together(tmp_path):
    given = with_vectors(tmp_path / "data")
    key, _, found = hand_out(given, tmp_path / "out")
    for name in ("train", "validation"):
        assert found[name].captions == given[name].captions and not found[name].shuffled
        np.testing.assert_array_equal(found[name].vectors, given[name].vectors)
        np.testing.assert_array_equal(found[name].caption_image, given[name].caption_image)
    test, own = given["test"], found["test"]
    assert own.shuffled and own.num_images == 40 and own.num_captions == 120
    assert own.captions != test.captions and sorted(own.captions) == sorted(test.captions)
    for caption, image in zip(own.captions, key.caption_image, strict=True):
        first = test.caption_image[test.captions.index(caption)]
        np.testing.assert_array_equal(own.vectors[image], test.vectors[first])
    np.testing.assert_array_equal(own.vectors, test.vectors[key.image_rows])
    assert own.captions == [test.captions[row] for row in key.caption_rows]
    assert key.data == datasets.fingerprint(own) and key.original == datasets.fingerprint(test)
    assert key.image_names == test.image_names and len(key.contents) == 40


def test_two_assignments_of_the_same_data_have_other_orders(tmp_path):
    given = with_vectors(tmp_path / "data")
    first, second = (hand_out(given, tmp_path / name)[0] for name in "ab")
    for name in ("image_rows", "caption_rows", "caption_image"):
        assert not np.array_equal(getattr(first, name), getattr(second, name))


def pictured(folder):
    """A csv set of pictures whose metadata name them."""
    lines = []
    for split, count in (("train", 4), ("validation", 3), ("test", 6)):
        for index in range(count):
            path = folder / f"secret-{split}-{index}.jpg"
            path.parent.mkdir(exist_ok=True)
            told, colour = Image.Exif(), (40 * index, 80, {"train": 0, "test": 99}.get(split, 200))
            told[270], told[274] = f"secret description {index}", 6  # turned by a quarter
            Image.new("RGB", (12, 8), colour).save(path, exif=told, comment=b"secret comment")
            lines += [f"{path.name},{split} {index} {k},{split}" for k in range(2)]
    tiny_data.put(folder / "table.csv", ["image,caption,split", *lines])
    return tiny_data.opened("csv", folder)


def test_pictures_go_without_name_metadata_and_time(tmp_path):
    given = pictured(tmp_path / "data")
    key, students, found = hand_out(given, tmp_path / "out")
    for path in students.rglob("*"):
        assert path.stat().st_mtime == handing_out.TIME
        assert path.is_dir() or b"secret" not in path.read_bytes()
    assert students.stat().st_mtime == handing_out.TIME
    names = sorted(path.name for path in (students / "test_images").iterdir())
    assert names == [f"{place:05d}.jpg" for place in range(6)]
    for place, row in enumerate(key.image_rows):
        with Image.open(found["test"].pictures[place]) as picture:
            assert (
                picture.size == (8, 12) and not picture.getexif() and "comment" not in picture.info
            )
            assert abs(int(np.asarray(picture)[3, 3, 0]) - 40 * row) <= 3
    for caption, image in zip(found["test"].captions, key.caption_image, strict=True):
        assert caption.split()[1] == str(key.image_rows[image])


def test_the_key_lies_outside_and_only_its_owner_reads_it(tmp_path):
    _, students, _ = hand_out(with_vectors(tmp_path / "data"), tmp_path / "out")
    assert not list(students.rglob("*key*"))
    assert (tmp_path / "out/key.npz").stat().st_mode & 0o077 == 0
    with open(students / "captions.csv", newline="") as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", "validation"}
    text = (students / "README.md").read_text()
    assert "--data csv --data_dir students" in text and "(120, D)" in text


def test_what_is_not_made_into_an_assignment(tmp_path):
    given = with_vectors(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(ValueError, match="expected an empty folder"):
        handing_out.make_assignment(given, tmp_path / "out")
    with pytest.raises(ValueError, match="anyone draws these images"):
        scenes = datasets.open_dataset("scenes", limit=3, cache_dir=tmp_path / "cache")
        handing_out.make_assignment(scenes, tmp_path / "scenes")
    _, students, found = hand_out(given, tmp_path / "first")
    with pytest.raises(ValueError, match="is shuffled: whose its captions are is not known"):
        handing_out.make_assignment(found, tmp_path / "second")
    bare = tiny_data.opened("flickr8k", tiny_data.flickr(tmp_path / "bare"))
    with pytest.raises(ValueError, match="neither vectors nor pictures"):
        handing_out.make_assignment(bare, tmp_path / "third")
    assert not any(path.exists() for path in map(tmp_path.joinpath, ("scenes", "second", "third")))
    assert isinstance(students, Path)


def test_a_shuffled_split_stays_whole_and_is_checked(tmp_path):
    _, students, _ = hand_out(with_vectors(tmp_path / "data"), tmp_path / "out")
    found = tiny_data.opened("csv", students, tmp_path / "c", limit=10)
    assert [found[name].num_images for name in found] == [10, 10, 40]
    with open(students / "captions.csv", "a") as file:
        file.write("3,one more,test\n")
    tiny_data.refused("csv", students, tmp_path / "c", says="both hold test images")
    tiny_data.replace(students / "captions.csv", "3,one more,test\n", "")
    lines = (students / "test_captions.txt").read_text().splitlines()
    tiny_data.put(students / "test_captions.txt", lines[:39])
    tiny_data.refused("csv", students, tmp_path / "c", says="39 lines for 40 images")
    (students / "test_images.npy").unlink()
    tiny_data.refused("csv", students, tmp_path / "c", says=r"needs test_images\.npy or")


@pytest.mark.parametrize("name", ["caption_image", "image_rows", "data_data", "format"])
def test_a_damaged_key_is_refused(name, tmp_path):
    key, _, _ = hand_out(with_vectors(tmp_path / "data"), tmp_path / "out")
    assert key.num_captions == 120
    with np.load(tmp_path / "out/key.npz") as arrays:
        kept = {one: arrays[one] for one in arrays.files}
    kept[name] = kept[name][1:]
    np.savez(tmp_path / "other.npz", **kept)
    with pytest.raises(ValueError, match="is no key: expected the key"):
        keys.read_key(tmp_path / "other.npz")

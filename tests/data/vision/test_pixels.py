"""Crops and whole pictures: the same bytes however they are kept; odd and broken files."""

import dataclasses
import io
import os
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from data import datasets
from data.pictures import load_picture
from data.vision import decoding
from data.vision.pixels import PixelRows
from data.vision.windows import view_side
from run import manifest
from run.manifest import check as check_strictly  # without the exception of conftest.py

SIDE = 16
BILINEAR = Image.Resampling.BILINEAR
RNG = np.random.default_rng(0)


def photo(height, width, mode="RGB"):
    """Coarse colours and a little noise."""
    coarse = Image.fromarray(RNG.integers(0, 256, (5, 6, 3), np.uint8)).resize((width, height))
    noise = RNG.integers(0, 20, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) * 0.9 + noise).astype(np.uint8)).convert(mode)


def make_split(folder, images, name="train") -> Any:
    """A split of picture files: {file name: Image, bytes, or (Image, options of save)}."""
    for file, content in images.items():
        image, options = content if isinstance(content, tuple) else (content, {})
        if isinstance(image, bytes):
            (folder / file).write_bytes(image)
        elif image is not None:
            image.save(folder / file, **options)
    return datasets.Split(
        name=name,
        image_names=list(images),
        captions=["a picture"] * len(images),
        caption_image=np.arange(len(images), dtype=np.int32),
        pictures=[str(folder / file) for file in images],
        origin=str(folder),
    )


def as_bytes(image, **options):
    file = io.BytesIO()
    image.save(file, options.pop("format", "JPEG"), **options)
    return file.getvalue()


def whole(pictures, rows):
    """Windows of whole pictures, none mirrored."""
    corner = np.zeros_like(pictures.decoded.shapes[rows])
    return np.concatenate([corner, pictures.decoded.shapes[rows]], axis=1), np.zeros(
        len(rows), bool
    )


def read(pictures, rows, windows=None, mirrored=None):
    rows = np.asarray(rows, np.int32)
    if windows is None:
        windows, mirrored = whole(pictures, rows)
    return pictures.read(rows, windows, mirrored).numpy()


def opened(split, folder, cache="none", side=SIDE, crop_area=0.8, mirror=True):
    settings = types.SimpleNamespace(image_size=side, crop_area=crop_area, image_pooling="mean")
    view = view_side(settings)
    return PixelRows(split, side, crop_area, mirror, cache, folder / "cache", view)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """JPEGs of several shapes, scales and kinds, all of which the graph decodes itself."""
    sizes = [(24, 24), (25, 40), (61, 37), (40, 83), (160, 90), (170, 301)]
    kinds = [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {}, {}]
    files = {
        f"{at}.jpg": (photo(*size), kind | {"quality": 90})
        for at, (size, kind) in enumerate(zip(sizes, kinds, strict=True))
    }
    return make_split(tmp_path_factory.mktemp("photos"), files)


# ---- Windows ------------------------------------------------------------------------------------


def test_windows_follow_the_law(tmp_path):
    split = make_split(tmp_path, {"a.jpg": photo(200, 200), "b.jpg": photo(200, 260)})
    pictures = opened(split, tmp_path, side=150)
    rows = np.repeat([0, 1], 4000)
    windows, mirrored = pictures.windows(rows, np.random.default_rng(0))
    assert windows.dtype == np.int32 and windows.shape == (8000, 4) and mirrored.dtype == bool
    y, x, height, width = windows.T
    of = pictures.decoded.shapes[rows]
    assert ((y >= 0) & (x >= 0) & (y + height <= of[:, 0]) & (x + width <= of[:, 1])).all()
    area, aspect = height * width / of.prod(axis=1), width / height
    assert area.min() > 0.79 and area.max() <= 1  # half a pixel each
    assert aspect.min() > 0.74 and aspect.max() < 1.345
    assert 0.48 < mirrored.mean() < 0.52
    # A square: area uniform but for what does not fit in (aspect between area and 1 / area).
    square = rows == 0
    area, aspect = area[square], aspect[square]
    density = np.maximum(0, -2 * np.log(np.linspace(0.8, 1, 1001)))  # width of the log aspects
    mean = (np.linspace(0.8, 1, 1001) * density).sum() / density.sum()
    assert area.mean() == pytest.approx(mean, abs=0.004)
    assert np.log(aspect).mean() == pytest.approx(0, abs=0.005)
    # Corners are uniform over where the crop fits in.
    room = 200 - height[square]
    assert (y[square][room > 10] / room[room > 10]).mean() == pytest.approx(0.5, abs=0.01)


def test_windows_of_pictures_too_long_for_the_law(tmp_path):
    split = make_split(tmp_path, {"wide.jpg": photo(20, 90), "high.jpg": photo(90, 20)})
    windows, _ = opened(split, tmp_path).windows(np.repeat([0, 1], 50), np.random.default_rng(0))
    assert (windows[:50, 2:] == [20, 27]).all() and (windows[50:, 2:] == [27, 20]).all()
    assert windows[:50, 1].min() < 10 and windows[:50, 1].max() > 50  # anywhere along it


def test_windows_are_a_function_of_the_generators_state(photos, tmp_path):
    pictures = opened(photos, tmp_path)
    draws = [pictures.windows(np.arange(6), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    for first, second in zip(*draws[:2], strict=True):
        np.testing.assert_array_equal(first, second)
    assert (draws[0][0] != draws[2][0]).any()
    plain = opened(photos, tmp_path, crop_area=1.0, mirror=False)
    windows, mirrored = plain.windows(np.arange(6), np.random.default_rng(0))
    np.testing.assert_array_equal(windows, whole(plain, np.arange(6))[0])
    assert not mirrored.any()


# ---- Crops --------------------------------------------------------------------------------------


def test_scales_keep_the_short_side():
    heights, widths = np.array([1, 31, 64, 143, 144, 9000]), np.array([500, 60, 64, 200, 144, 9000])
    assert decoding.choose_scales(heights, widths, 18).tolist() == [1, 1, 2, 4, 8, 8]


def test_crops_without_resizing_are_slices_of_the_decoded_picture(photos, tmp_path):
    """To the byte, although only a band of rows is decoded; at scale 1 as load_picture decodes."""
    pictures = opened(photos, tmp_path)
    assert set(pictures.decoded.scales.tolist()) == {1, 2, 4, 8}
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(6), 5)
    corners = np.floor(rng.random((30, 2)) * (pictures.decoded.shapes[rows] - SIDE + 1))
    windows = np.concatenate([corners, np.full((30, 2), SIDE)], axis=1).astype(np.int32)
    turned = read(pictures, rows, windows, np.ones(30, bool))
    crops = read(pictures, rows, windows, np.zeros(30, bool))
    for crop, back, row, (y, x, _, _) in zip(crops, turned, rows, windows, strict=True):
        with Image.open(photos.pictures[row]) as picture:
            scale = int(pictures.decoded.scales[row])
            picture.draft(None, (picture.width // scale, picture.height // scale))
            pixels = np.asarray(picture)
        assert pixels.shape[:2] == tuple(pictures.decoded.shapes[row])
        np.testing.assert_array_equal(crop, pixels[y : y + SIDE, x : x + SIDE])
        np.testing.assert_array_equal(back, crop[:, ::-1])
        if scale == 1:
            same = np.asarray(load_picture(photos.pictures[row]))
            np.testing.assert_array_equal(pixels, same)


def neighbours(place, size):
    """The two whole places beside one, and their shares."""
    low = int(np.floor(place))
    return (max(low, 0), 1 - place + low), (min(low + 1, size - 1), place - low)


def bilinear(pixels, side):
    """A loop over what is written in textbooks: pixel centres at halves, edges repeated."""
    out, (height, width) = np.zeros((side, side, 3)), pixels.shape[:2]
    for i, j in np.ndindex(side, side):
        for at, share in neighbours((i + 0.5) * height / side - 0.5, height):
            for to, part in neighbours((j + 0.5) * width / side - 0.5, width):
                out[i, j] += share * part * pixels[at, to]
    return out


def test_crops_are_resized_bilinearly_and_mirrored(photos, tmp_path):
    pictures = opened(photos, tmp_path)
    windows, mirrored = pictures.windows(np.arange(6), np.random.default_rng(3))
    mirrored[:2] = False, True
    crops = read(pictures, np.arange(6), windows, mirrored)
    for row, (y, x, height, width) in enumerate(windows):
        wanted = bilinear(pictures.decoded.pixels(row)[y : y + height, x : x + width], SIDE)
        wanted = wanted[:, ::-1] if mirrored[row] else wanted
        assert abs(crops[row] - wanted).max() <= 0.51  # rounded, from float32


def test_resized_crops_look_like_pillows(photos, tmp_path):
    """Pillow averages over all the pixels that a new one covers, here up to 2.3 a side."""
    pictures = opened(photos, tmp_path)
    for row, crop in enumerate(read(pictures, np.arange(6))):
        smooth = load_picture(photos.pictures[row]).resize((SIDE, SIDE), BILINEAR)
        assert abs(np.asarray(smooth).astype(int) - crop).mean() < 8  # of 255, noise is 20


def test_all_caches_give_the_same_bytes(photos, tmp_path):
    rows = np.array([3, 0, 5, 1, 4, 2, 3], np.int32)
    found = {}
    for cache in ("none", "memory", "disk", "disk", "auto"):
        pictures = opened(photos, tmp_path, cache)
        assert pictures.decoded.cache == ("memory" if cache == "auto" else cache)
        windows, mirrored = pictures.windows(rows, np.random.default_rng(5))
        groups = [pictures.views(group) for group in pictures.view_groups(2)]
        found = found or {"crops": read(pictures, rows, windows, mirrored), "views": groups}
        np.testing.assert_array_equal(read(pictures, rows, windows, mirrored), found["crops"])
        for ours, first in zip(groups, found["views"], strict=True):
            np.testing.assert_array_equal(ours, first)
    assert len(list((tmp_path / "cache").glob("pictures-*.u8"))) == 1


def test_the_disk_cache_is_not_decoded_twice_and_knows_when_a_file_changes(tmp_path, monkeypatch):
    split = make_split(tmp_path, {"a.jpg": photo(40, 40), "b.jpg": photo(40, 30)})
    opened(split, tmp_path, "disk")
    stored = list((tmp_path / "cache").glob("pictures-*"))
    assert len(stored) == 2 and not any(path.name.startswith(".") for path in stored)
    monkeypatch.setattr(decoding, "decode", None)  # is not called
    opened(split, tmp_path, "disk")
    monkeypatch.undo()
    os.utime(split.pictures[0], ns=(1, 1))
    opened(split, tmp_path, "disk")
    assert len(list((tmp_path / "cache").glob("pictures-*.u8"))) == 2


@pytest.mark.parametrize("suffix", [".u8", ".json"])
def test_a_damaged_disk_cache_is_decoded_anew(suffix, photos, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(manifest, "check", check_strictly)
    rows = np.arange(6, dtype=np.int32)
    expected = read(opened(photos, tmp_path, "disk"), rows)
    (kept,) = (tmp_path / "cache").glob(f"pictures-*{suffix}")
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 4
    kept.write_bytes(content)
    np.testing.assert_array_equal(read(opened(photos, tmp_path, "disk"), rows), expected)
    assert f"{kept.name} is not as it was written: it is made anew" in caplog.text


@pytest.mark.parametrize(
    ("memory", "disk", "chosen"), [(400, 0, "memory"), (396, 400, "disk"), (396, 396, "none")]
)
def test_auto_takes_a_quarter_of_what_is_free(memory, disk, chosen, tmp_path, monkeypatch):
    usage = dataclasses.make_dataclass("Usage", ["free"])
    monkeypatch.setattr(decoding, "free_memory", lambda: memory)
    monkeypatch.setattr(decoding.shutil, "disk_usage", lambda folder: usage(disk))
    assert decoding.choose_cache("auto", 100, tmp_path) == chosen
    assert decoding.choose_cache("disk", 10**15, tmp_path) == "disk"
    with pytest.raises(ValueError, match="unknown cache 'ram': choose from auto, memory, disk"):
        decoding.choose_cache("ram", 1, tmp_path)


def test_free_memory_is_some():
    assert 0 <= decoding.free_memory() < 2**50


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_a_batch_read_whole_in_parts_or_in_a_stream_is_the_same(photos, tmp_path, cache):
    pictures = opened(photos, tmp_path, cache)
    rows = np.arange(6, dtype=np.int32)
    windows, mirrored = pictures.windows(rows, np.random.default_rng(1))
    together = read(pictures, rows, windows, mirrored)
    for part in (rows[:0], rows[:1], rows[1:4], rows[4:]):
        apart = read(pictures, part, windows[part], mirrored[part])
        np.testing.assert_array_equal(apart, together[part])
    stream = tf.data.Dataset.from_tensor_slices((rows, windows, mirrored)).batch(4).repeat(3)
    stream = stream.map(pictures.read, tf.data.AUTOTUNE, deterministic=True)
    spec: Any = stream.element_spec
    assert spec.shape.as_list() == [None, SIDE, SIDE, 3]
    found = np.concatenate([batch.numpy() for batch in stream])
    np.testing.assert_array_equal(found, np.tile(together, (3, 1, 1, 1)))


def test_pictures_in_memory(tmp_path):
    pixels = RNG.integers(0, 256, (5, 20, 24, 3), np.uint8)
    split: Any = dataclasses.replace(make_split(tmp_path, {}), pictures=pixels)
    pictures = PixelRows(split, 20, cache_dir=tmp_path / "cache")
    assert (
        len(pictures) == 5
        and pictures.decoded.cache == "none"
        and not (tmp_path / "cache").exists()
    )
    windows = np.tile(np.array([0, 3, 20, 20]), (2, 1))
    crops = read(pictures, [4, 1], windows, np.array([False, True]))
    np.testing.assert_array_equal(crops[0], pixels[4, :, 3:23])
    np.testing.assert_array_equal(crops[1], pixels[1, :, 3:23][:, ::-1])
    np.testing.assert_array_equal(pictures.views([0, 3]), pixels[[0, 3]])
    assert pictures[np.array([0, 3])].shape == (2, 20, 20, 3)


# ---- Odd and broken pictures --------------------------------------------------------------------


def odd_pictures():
    """Each kind with what `load_picture` makes of it once it is written."""
    orange = Image.new("RGB", (1, 1), (250, 120, 10))
    deep = Image.fromarray(RNG.integers(0, 65536, (30, 20)).astype(np.uint16))
    frames = [photo(20, 26, "P") for _ in range(3)]
    seen_through = photo(25, 25)
    seen_through.putalpha(Image.linear_gradient("L").resize((25, 25)))
    turned = {}
    for turn in range(2, 9):
        exif = Image.Exif()
        exif[decoding.ORIENTATION] = turn
        turned[f"turned{turn}.jpg"] = (photo(80, 50), {"exif": exif})
    return {
        "one.jpg": orange,
        "one.png": orange,
        "grey.jpg": photo(40, 30, "L"),
        "cmyk.jpg": photo(40, 30, "CMYK"),
        "deep.png": deep,
        "moving.gif": (frames[0], {"save_all": True, "append_images": frames[1:]}),
        "alpha.png": seen_through,
        "palette.png": photo(90, 75, "P"),
        "several.mpo": (photo(50, 40), {"save_all": True, "append_images": [photo(50, 40)]}),
        "web.webp": photo(33, 44),
        "plain.jpg": photo(35, 41),
    } | turned


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_odd_pictures_are_read_as_load_picture_reads_them(tmp_path, cache):
    split = make_split(tmp_path, odd_pictures())
    pictures = opened(split, tmp_path, cache)
    rows = np.arange(len(pictures))
    crops = read(pictures, rows)
    for row, name in enumerate(split.image_names):
        upright = load_picture(split.pictures[row])
        assert np.ptp(np.asarray(upright)) > 0, name
        scale = pictures.decoded.scales[row]
        assert scale == (2 if "turned" in name else 4 if name == "palette.png" else
                         2 if name == "several.mpo" else 1)  # fmt: skip
        wanted = bilinear(np.asarray(upright.reduce(int(scale))), SIDE)
        # Pillow halves the pixels, the JPEG decoder the frequencies.
        assert abs(crops[row] - wanted).mean() < (6 if scale > 1 else 0.51), name
        assert abs(crops[row] - wanted).max() < (60 if scale > 1 else 0.51), name
    assert pictures.complaint() is None
    assert sorted(row for group in pictures.view_groups(3) for row in group) == rows.tolist()
    for group in pictures.view_groups(3):
        assert min(pictures.views(group).shape[1:3]) == 18


def test_a_hundred_megapixels_are_decoded_at_an_eighth(tmp_path):
    huge = Image.linear_gradient("L").resize((11600, 8700))
    split = make_split(tmp_path, {"huge.jpg": huge})
    pictures = opened(split, tmp_path)
    assert pictures.decoded.scales[0] == 8 and pictures.decoded.shapes[0].tolist() == [1088, 1450]
    crop = read(pictures, [0], np.array([[1000, 40, 88, 88]]), np.array([False]))[0]
    assert abs(crop[..., 0].mean() / 255 - 1044 / 1088) < 0.01
    assert pictures.views([0]).shape == (1, 18, 24, 3)
    assert pictures.complaint() is None


def spoil(folder):
    """Five of seven files that cannot be read."""
    content = as_bytes(photo(40, 40), quality=95)
    files = {
        "good.jpg": content,
        "short.jpg": content[:-300],
        "empty.jpg": b"",
        "text.jpg": b"this is no picture",
        "short.png": as_bytes(photo(40, 40), format="PNG")[:-900],
        "fine.png": as_bytes(photo(40, 40), format="PNG"),
        "gone.jpg": None,
    }
    return make_split(folder, files)


@pytest.mark.parametrize("cache", ["none", "memory", "disk", "disk again"])
def test_broken_pictures_are_grey_named_once_and_counted(tmp_path, cache):
    split, bad = spoil(tmp_path), [1, 2, 3, 4, 6]
    if cache == "disk again":
        opened(split, tmp_path, "disk")
    pictures = opened(split, tmp_path, cache.split()[0])
    assert {1, 2, 3, 6} <= set(pictures.decoded.broken)  # by its end a JPEG is known to be cut off
    crops = read(pictures, np.arange(7))
    assert (crops[bad] == 128).all()
    assert all(np.ptp(crops[row]) > 50 for row in (0, 5))
    said = pictures.complaint() or ""
    assert said.startswith("5 pictures of the train split could not be read and are grey: picture ")
    for part in ("short.jpg is damaged", "empty.jpg is empty", "; and 2 more"):
        assert part in said
    assert "\n" not in said and pictures.complaint() is None
    np.testing.assert_array_equal(read(pictures, np.arange(7)), crops)
    assert sorted(pictures.decoded.broken) == bad and pictures.complaint() is None


def test_views_refuse_broken_pictures_and_count_all(tmp_path):
    pictures = opened(spoil(tmp_path), tmp_path)
    wanted = r"^5 pictures of the train split cannot be read: picture .*short.jpg .*; and 2 more\."
    with pytest.raises(ValueError, match=wanted):
        pictures.views([0])
    several = opened(make_split(tmp_path, {"a.jpg": photo(9, 9), "b.jpg": photo(9, 20)}), tmp_path)
    with pytest.raises(ValueError, match=r"views of 2 shapes .* read them by view_groups"):
        several.views([0, 1])


def test_what_breaks_in_the_middle_of_an_epoch_turns_grey_and_the_stream_goes_on(tmp_path):
    contents = [as_bytes(photo(40, 40)) for _ in range(8)]
    split = make_split(tmp_path, {f"{at}.jpg": content for at, content in enumerate(contents)})
    pictures = opened(split, tmp_path)
    rows = np.arange(8, dtype=np.int32)
    windows, mirrored = pictures.windows(rows, np.random.default_rng(1))
    stream = tf.data.Dataset.from_tensor_slices((rows, windows, mirrored)).batch(4).repeat(3)
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # nothing is read ahead
    stream = iter(stream.map(pictures.read).with_options(options))
    first = np.concatenate([next(stream), next(stream)])
    assert pictures.complaint() is None
    middle = bytearray(contents[2])
    middle[len(middle) // 4 : -2] = bytes(len(middle) - len(middle) // 4 - 2)
    Path(split.pictures[2]).write_bytes(bytes(middle))  # still as long
    Path(split.pictures[5]).write_bytes(contents[5][: len(contents[5]) // 4])
    Path(split.pictures[6]).unlink()
    Path(split.pictures[7]).write_bytes(as_bytes(photo(60, 90)))  # another picture
    second = np.concatenate([next(stream), next(stream)])
    good, bad = [0, 1, 3, 4], [2, 5, 6]
    np.testing.assert_array_equal(second[good], first[good])
    assert (second[bad] == 128).all()
    assert (pictures.complaint() or "").startswith(
        "3 pictures of the train split could not be read"
    )
    third = np.concatenate([next(stream), next(stream)])
    np.testing.assert_array_equal(third, second)
    assert pictures.complaint() is None and next(stream, None) is None
    with pytest.raises(ValueError, match=r"^4 pictures of the train split cannot be read"):
        pictures.check()


def test_damage_outside_the_window_does_no_harm(tmp_path):
    """What a crop holds depends on the file and the window, not on what was read before."""
    content = as_bytes(photo(60, 17), quality=95)
    split = make_split(tmp_path, {"a.jpg": content, "b.jpg": content})
    pictures = opened(split, tmp_path)
    damaged = bytearray(content)
    damaged[-200:-2] = bytes(198)
    Path(split.pictures[0]).write_bytes(bytes(damaged))
    top = np.array([[0, 0, 16, 16], [0, 0, 16, 16]])
    straight = np.zeros(2, bool)
    first = read(pictures, [0, 1], top, straight)
    np.testing.assert_array_equal(first[0], first[1])
    low = read(pictures, [0, 1], top + np.array([44, 0, 0, 0]), straight)
    assert (low[0] != low[1]).any()
    np.testing.assert_array_equal(read(pictures, [0, 1], top, straight), first)


def test_headers_that_took_long_are_kept(tmp_path, monkeypatch):
    split = make_split(tmp_path, {"a.jpg": photo(20, 20), "b.jpg": b"no", "c.png": photo(9, 8)})
    monkeypatch.setattr(decoding, "SLOW", -1.0)
    headers, broken = decoding.read_headers(split.pictures, tmp_path)
    assert headers["height"].tolist() == [20, 0, 9] and list(broken) == [1]
    read_again = []

    def read_header(path):
        read_again.append(path)
        return 1, 1, 1, False

    monkeypatch.setattr(decoding, "read_header", read_header)
    headers, broken = decoding.read_headers(split.pictures, tmp_path)
    assert read_again == split.pictures[1:2] and not broken
    photo(30, 30).save(split.pictures[0])
    decoding.read_headers(split.pictures, tmp_path)
    assert len(read_again) > 2  # a file has changed


# ---- Views --------------------------------------------------------------------------------------


def test_views_are_whole_pictures(photos, tmp_path):
    pictures = opened(photos, tmp_path)
    groups = pictures.view_groups(2)
    assert sorted(row for group in groups for row in group) == list(range(6))
    assert all(1 <= len(group) <= 2 for group in groups)
    for group in groups:
        views = pictures.views(group)
        turned = pictures.views(group, mirrored=True)
        np.testing.assert_array_equal(turned, views[:, :, ::-1])
        height, width = pictures.decoded.shapes[group[0]]
        assert min(views.shape[1:3]) == 18
        assert views.shape[2] / views.shape[1] == pytest.approx(width / height, rel=0.04)
        for view, row in zip(views, group, strict=True):
            small = Image.fromarray(pictures.decoded.pixels(row)).resize(
                view.shape[1::-1], BILINEAR
            )
            assert abs(np.asarray(small).astype(int) - view).mean() < 8
    assert opened(photos, tmp_path, crop_area=1.0).views([0]).shape == (1, 16, 16, 3)
    repeated = pictures.views([3, 3, 3])
    np.testing.assert_array_equal(repeated, np.repeat(pictures.views([3]), 3, axis=0))


@pytest.mark.parametrize(
    ("crop_area", "pooling", "side"),
    [(0.8, "mean", 73), (1.0, "mean", 64), (0.8, "places", 64), (1.0, "places", 64)],
)
def test_places_are_seen_at_the_size_of_training(crop_area, pooling, side):
    chosen = {"image_size": 64, "crop_area": crop_area, "image_pooling": pooling}
    assert view_side(types.SimpleNamespace(**chosen)) == side


def test_very_long_pictures_are_squashed(tmp_path):
    split = make_split(tmp_path, {"wide.png": photo(20, 500), "high.png": photo(500, 20)})
    assert opened(split, tmp_path).view_shapes.tolist() == [[18, 54], [54, 18]]


def test_rows_are_squares(photos, tmp_path):
    pictures = opened(photos, tmp_path)
    np.testing.assert_array_equal(pictures[np.array([4, 1])], read(pictures, [4, 1]))


def test_exif_turns_as_pillow_does(tmp_path):
    names = [name for name in odd_pictures() if "turned" in name]
    split = make_split(tmp_path, {name: odd_pictures()[name] for name in names})
    for path in split.pictures:
        with Image.open(path) as picture:
            wanted = np.asarray(ImageOps.exif_transpose(picture))
        height, width, _, jpeg = decoding.read_header(path)
        np.testing.assert_array_equal(decoding.decode(path, jpeg, 1, (height, width)), wanted)
    pictures = opened(split, tmp_path)
    for row in range(7):
        crop = read(pictures, [row], np.array([[0, 0, 16, 16]]), np.zeros(1, bool))[0]
        np.testing.assert_array_equal(crop, pictures.decoded.pixels(row)[:16, :16])

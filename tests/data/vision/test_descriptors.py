"""The descriptor of pictures: what it must tell apart, and vectors of whole splits."""

import dataclasses
import os
import types

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tiny_data import kept_in
from tiny_network import LAYERS, NETWORK, Counter, answers, make_split

from data import datasets
from data.pictures import load_picture
from data.scenes import drawing, world
from data.vision import activations, boxes, cnn, descriptors, embedding, network, regions, rows
from data.vision.pixels import PixelDescriptor
from run import files, manifest
from run.manifest import check as check_strictly  # without the exception of conftest.py
from systems.dual_path.reading import cluster_rows

COLOURS = {"red": (222, 40, 40), "blue": (35, 95, 235)}


@pytest.fixture(scope="module")
def pictures():
    return drawing.draw_all(world.make_scenes("train", 60)[0])


@pytest.fixture(scope="module")
def descriptor(pictures):
    return regions.RegionDescriptor.learn(pictures)


def split_of(pictures, **others):
    count = 4 if pictures is None else len(pictures)
    return datasets.Split(
        name="train",
        image_names=[f"{row}.png" for row in range(count)],
        captions=["a picture"] * count,
        caption_image=np.arange(count, dtype=np.int32),
        pictures=pictures,
        **others,
    )


def kept(folder):
    """Settings that say where rows are kept."""
    return types.SimpleNamespace(cache_dir=folder)


def files_of(pictures, folder):
    paths = [str(folder / f"{row}.bmp") for row in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def drawn(shape, colour, centre=(32, 32), radius=9, ground="white"):
    """One disc ("ellipse") or square ("rectangle")."""
    picture = Image.new("RGB", (64, 64), ground)
    (x, y), r = centre, radius
    getattr(ImageDraw.Draw(picture), shape)((x - r, y - r, x + r, y + r), fill=colour)
    return np.asarray(picture)


def blocks(descriptor, picture):
    """The sums of products of one picture, before they are standardised, by their two codes."""
    raw = descriptor.embed(picture[None])[0] * descriptor.scale + descriptor.centre
    codes = descriptor.codes(regions.find_regions(picture[None], descriptor.table))
    sizes = [codes[a].shape[1] * codes[b].shape[1] for a, b in regions.PAIRS]
    parts = np.split(raw, np.cumsum(sizes)[:-1])
    return dict(zip(regions.PAIRS, parts, strict=True))


# ---- Regions ------------------------------------------------------------------------------------


def test_regions_of_a_picture_by_hand(descriptor):
    picture = drawn("rectangle", COLOURS["red"], (20, 30), 5)
    found = regions.find_regions(picture[None], descriptor.table)
    np.testing.assert_array_equal(found.picture, [0, 0])
    np.testing.assert_array_equal(found.area, [64 * 64 - 11 * 11, 11 * 11])
    np.testing.assert_array_equal(found.box, [[0, 0, 64, 64], [15, 25, 26, 36]])
    assert found.colour[0] != found.colour[1]
    square = found.texture[1]
    np.testing.assert_allclose(square[:4], [110 / 121, 110 / 121, 100 / 121, 100 / 121], rtol=1e-6)


def test_a_striped_object_is_one_region(descriptor):
    item = world.Item("square", "red", "large", "striped", 14.0, 32.0, 32.0)
    picture = world.draw_scene(world.Scene("white", (item,)))
    found = regions.find_regions(picture[None], descriptor.table)
    widths = found.box[:, 2] - found.box[:, 0]
    assert np.sum(widths >= 22) == 2  # the ground and the square, whose side is 24.6
    plain = world.draw_scene(world.Scene("white", (dataclasses.replace(item, texture="plain"),)))
    textures = [
        regions.find_regions(p[None], descriptor.table).texture[1] for p in (picture, plain)
    ]
    along, across = 3, 2  # steps (1, -1) and (1, 1); stripes run from lower left to upper right
    assert textures[0][along] > textures[0][across] + 0.1
    np.testing.assert_allclose(textures[1][along], textures[1][across], atol=0.01)


@pytest.mark.parametrize("down", [1, -1])
def test_a_thin_line_does_not_cut_a_region(down):
    words = np.zeros((1, 64, 64), np.int16)
    row, column = np.indices((64, 64))
    offset = column - row if down == 1 else column + row - 63
    words[0, (offset == 0) | (offset == 1)] = 1
    assert regions.label(words).max() == 1
    words[0, (offset >= 0) & (offset <= 3)] = 1  # a broad one does
    assert regions.label(words).max() == 2


def test_labels_agree_with_a_flood_fill(pictures):
    words = (pictures[:3, ..., 0] >> 5).astype(np.int16)
    labels = regions.label(words)
    steps = [(s * y, s * x) for y, x in regions.JOINS for s in (1, -1)]
    steps += [(0, 1), (0, -1)]
    seen, count = np.full(words.shape, -1), 0
    for n, y, x in np.ndindex(words.shape):
        if seen[n, y, x] >= 0:
            continue
        seen[n, y, x], todo = count, [(y, x)]
        while todo:
            here = todo.pop()
            for down, across in steps:
                there = here[0] + down, here[1] + across
                inside = min(there) >= 0 and max(there) < 64
                if inside and seen[n][there] < 0 and words[n][there] == words[n][here]:
                    seen[n][there] = count
                    todo.append(there)
        count += 1
    np.testing.assert_array_equal(labels, seen)


def test_what_shares_its_box_with_a_larger_region_is_left_out(descriptor):
    picture = drawn("rectangle", COLOURS["red"], radius=10).copy()
    picture[23:42:18, 23:42] = COLOURS["blue"]  # a frame one pixel thick, one pixel further in
    picture[23:42, 23:42:18] = COLOURS["blue"]
    found = regions.find_regions(picture[None], descriptor.table)
    np.testing.assert_array_equal(found.box, [[0, 0, 64, 64], [22, 22, 43, 43]])
    assert found.area[1] > 17 * 17  # the red, not the frame of 72


# ---- What vectors tell apart --------------------------------------------------------------------


def test_which_shape_has_which_colour_is_told_apart(descriptor):
    def two(left, right):
        first, second = (
            drawn("ellipse", COLOURS[left], (16, 32)),
            drawn("rectangle", COLOURS[right], (48, 32)),
        )
        return np.where(np.arange(64)[None, :, None] < 32, first, second)

    one, other = (blocks(descriptor, two(*names)) for names in (("red", "blue"), ("blue", "red")))
    bound = np.abs(one["colour", "outline"] - other["colour", "outline"]).max()
    assert bound > 0.3
    colours = [
        np.square(b["colour", "outline"]).reshape(-1, len(descriptor.outlines)).sum(axis=1)
        for b in (one, other)
    ]
    np.testing.assert_allclose(*colours, atol=1e-4)  # one by one, the colours are the same


def test_a_moved_object_changes_its_place_and_nothing_else(descriptor):
    near, far = (blocks(descriptor, drawn("ellipse", COLOURS["red"], (x, 20), 6)) for x in (14, 44))
    for pair in (("colour", "outline"), ("colour", "size"), ("colour", "texture")):
        # the ground has a hole elsewhere, which its coarse outline hardly notices
        np.testing.assert_allclose(near[pair], far[pair], atol=0.25)
    assert np.abs(near["colour", "place"] - far["colour", "place"]).max() > 0.7


def test_another_shade_keeps_its_colour_and_another_hue_does_not(descriptor):
    colour = [
        regions.find_regions(drawn("ellipse", rgb)[None], descriptor.table).colour[1]
        for rgb in ((222, 40, 40), (200, 30, 30), (35, 95, 235))
    ]
    assert colour[0] == colour[1] != colour[2]


def test_hue_counts_more_than_shade():
    red, dull, orange, grey, light = regions.opponent(
        np.array([(222, 40, 40), (78, 14, 14), (247, 135, 20), (90, 90, 90), (190, 190, 190)])
    )
    assert 2 * np.linalg.norm(red - dull) < np.linalg.norm(red - orange)
    np.testing.assert_allclose(light - grey, [regions.LIGHTNESS * 100, 0, 0], atol=1e-4)


def test_size_is_shared_between_its_neighbours():
    shares = regions.soft_bins(np.array([1.0, 2.0, 3.0, 32.0, 99.0]), regions.HALF_SIZES)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares[:3, :2], [[1, 0], [1, 0], [0.5, 0.5]])
    np.testing.assert_array_equal(shares[3:, -1], [1, 1])


# ---- Learned, alone or among others, saved ------------------------------------------------------


def test_one_picture_is_described_as_in_a_batch(descriptor, pictures):
    whole = descriptor.embed(pictures)
    assert whole.dtype == np.float32
    assert whole.shape == (60, descriptor.feature_dim)
    alone = np.concatenate([descriptor.embed(pictures[row : row + 1]) for row in range(60)])
    np.testing.assert_array_equal(alone, whole)
    np.testing.assert_array_equal(descriptor.embed(pictures[::-1]), whole[::-1])
    np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-5)
    assert descriptor.embed(pictures[:0]).shape == (0, descriptor.feature_dim)


def test_learning_twice_gives_the_same_and_another_seed_another(descriptor, pictures):
    again = regions.RegionDescriptor.learn(pictures)
    assert again.fingerprint() == descriptor.fingerprint()
    assert regions.RegionDescriptor.learn(pictures, 1).fingerprint() != descriptor.fingerprint()


LAST = ("last", "fne", "grid")


def one_of(kind, region_descriptor):
    """A descriptor of a kind, where learning takes no time."""
    if kind in LAST:
        seen = dataclasses.replace(NETWORK, grid=2) if kind == "grid" else NETWORK
        layers = network.Layers(["grid"], [12], (0, 12)) if kind == "grid" else LAYERS
        return embedding.NetworkDescriptor(seen, layers, kind, np.arange(10.0), np.ones(10))
    return {
        "regions": region_descriptor,
        "boxes": boxes.BoxDescriptor(region_descriptor, 5),
        "ready": descriptors.ReadyVectors((36, 2048)),
        "pixels": PixelDescriptor(64, 73, 0.8, True),
    }[kind]


def test_a_damaged_network_is_not_opened(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(manifest, "check", check_strictly)
    settings, described = types.SimpleNamespace(cache_dir=tmp_path), one_of("last", None)
    path, written = described.exported(settings), []
    monkeypatch.setattr(
        cnn, "export_network", lambda _, to: written.append(to) or files.write_text(to, "network")
    )
    for _ in range(2):
        described.export(settings)
    assert written == [path]
    path.write_text("netw0rk")
    with pytest.raises(ValueError, match=r"onnx is missing: python test\.py writes it"):
        described.open(settings)
    assert f"{path.name} is not as it was written" in caplog.text
    described.export(settings)
    assert written == [path, path]


@pytest.mark.parametrize("kind", descriptors.KINDS)
def test_every_kind_names_itself_in_its_file(kind, descriptor, tmp_path):
    saved = one_of(kind, descriptor)
    saved.save(tmp_path / "features.npz")
    assert str(np.load(tmp_path / "features.npz")["kind"]) == kind == saved.kind
    loaded = descriptors.load_descriptor(tmp_path / "features.npz")
    assert type(loaded) is type(saved) and loaded.kind == kind
    assert loaded.row_shape == saved.row_shape and loaded.dtype == saved.dtype
    assert loaded.feature_dim == (0 if kind == "pixels" else saved.row_shape[-1])
    assert loaded.fingerprint() == saved.fingerprint()
    assert bool(loaded.fingerprint()) == (kind not in ("ready", "pixels"))
    for name, array in saved.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"words": np.zeros(2)}, r"\(kind none: 'none'\)"),  # of a version that named no kind
        ({"kind": np.array("regions"), "words": np.zeros(2)}, "kind regions: .*words"),
        ({"kind": np.array("boxes"), "palette": np.zeros(2)}, "kind boxes: 'boxes'"),
        ({"kind": np.array("fne"), "facts": np.array("{")}, "kind fne: "),
    ],
)
def test_a_file_of_another_descriptor_is_refused(arrays, says, tmp_path):
    np.savez(tmp_path / "features.npz", **arrays)
    message = rf"features\.npz holds another descriptor .*{says}.*: train the run anew$"
    with pytest.raises(ValueError, match=message):
        descriptors.load_descriptor(tmp_path / "features.npz")
    with pytest.raises(ValueError, match=r"none\.npz is missing"):
        descriptors.load_descriptor(tmp_path / "none.npz")


@pytest.mark.parametrize("kind", ["one colour", "noise", "grey"])
def test_pictures_with_next_to_nothing_in_them(kind, pictures, descriptor):
    rng = np.random.default_rng(0)
    odd = {
        "one colour": np.full((3, 64, 64, 3), 77, np.uint8),
        "noise": rng.integers(0, 256, (3, 64, 64, 3), np.uint8),
        "grey": np.repeat(pictures[:3, ..., :1], 3, axis=3),
    }[kind]
    assert np.isfinite(descriptor.embed(odd)).all()
    own = regions.RegionDescriptor.learn(odd)
    vectors = own.embed(np.concatenate([odd, pictures[:3]]))
    assert vectors.shape == (6, own.feature_dim)
    assert np.isfinite(vectors).all()


# ---- Whole splits -------------------------------------------------------------------------------


def test_vectors_come_from_the_cache_until_a_picture_changes(
    descriptor, pictures, tmp_path, monkeypatch
):
    paths = files_of(pictures[:5], tmp_path)
    split = split_of(paths)
    first = descriptor.rows(split, kept(tmp_path / "cache"))
    np.testing.assert_array_equal(first, descriptor.embed(pictures[:5]))
    describe = regions.RegionDescriptor.embed
    monkeypatch.setattr(regions.RegionDescriptor, "embed", lambda *_: pytest.fail("again"))
    hit = descriptor.rows(split, kept(tmp_path / "cache"))
    assert hit.tobytes() == first.tobytes()
    monkeypatch.setattr(regions.RegionDescriptor, "embed", describe)
    Image.fromarray(pictures[9]).save(paths[2])  # as many bytes as before
    os.utime(paths[2], ns=(1, 1))
    changed = descriptor.rows(split, kept(tmp_path / "cache"))
    np.testing.assert_array_equal(changed[2], descriptor.embed(pictures[9:10])[0])
    assert len(kept_in(tmp_path / "cache")) == 2


def test_pictures_in_memory_and_in_files_are_described_alike(descriptor, pictures, tmp_path):
    files = split_of(files_of(pictures[:70], tmp_path))
    memory = split_of(pictures[:70])
    np.testing.assert_array_equal(
        descriptor.rows(files, kept(tmp_path / "cache")),
        descriptor.rows(memory, kept(tmp_path / "cache")),
    )


def test_a_half_written_cache_is_never_used(descriptor, pictures, tmp_path, monkeypatch):
    split = split_of(pictures[:5])
    with monkeypatch.context() as patch:
        patch.setattr(regions.RegionDescriptor, "embed", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            descriptor.rows(split, kept(tmp_path))
    assert kept_in(tmp_path) == []
    vectors = descriptor.rows(split, kept(tmp_path))
    np.testing.assert_array_equal(vectors, descriptor.embed(pictures[:5]))


def test_all_broken_pictures_of_a_split_are_counted_in_one_error(descriptor, pictures, tmp_path):
    paths = files_of(np.concatenate([pictures, pictures, pictures]), tmp_path)
    for row in (0, 70, 175):
        os.remove(paths[row])
    open(paths[3], "wb").close()
    with open(paths[100], "r+b") as file:
        file.truncate(40)
    split = split_of(paths)
    said = (
        r"^5 pictures of the train split cannot be read: picture \S*\b0\.bmp does not exist.*; "
        r"picture \S*\b3\.bmp is empty .*; picture \S*\b70\.bmp .*; and 2 more\. "
    )
    with pytest.raises(ValueError, match=said):
        descriptor.rows(split, kept(tmp_path / "cache"))
    assert kept_in(tmp_path / "cache") == []
    with pytest.raises(ValueError, match=said):
        rows.read_all(split, np.array([1, 3]))  # also of rows that were not asked for
    with pytest.raises(ValueError, match=said):
        descriptors.learn_descriptor("regions", split, types.SimpleNamespace(data_seed=0))


def test_pictures_of_any_size_and_mode_are_described(descriptor, tmp_path):
    made = {
        "tiny.png": Image.new("RGB", (1, 1), (200, 10, 10)),
        "flat.png": Image.new("RGB", (300, 2), (200, 10, 10)),
        "grey.png": Image.new("L", (40, 30), 90),
        "clear.png": Image.new("RGBA", (64, 64), (0, 0, 0, 0)),
    }
    paths = [str(tmp_path / name) for name in made]
    for path, picture in zip(paths, made.values(), strict=True):
        picture.save(path)
    vectors = descriptor.rows(split_of(paths), kept(tmp_path / "cache"))
    plain = np.full((1, 64, 64, 3), (200, 10, 10), np.uint8)
    np.testing.assert_array_equal(vectors[:2], np.repeat(descriptor.embed(plain), 2, axis=0))
    np.testing.assert_array_equal(vectors[3], descriptor.embed(np.full_like(plain, 255))[0])
    assert np.abs(vectors[2] - vectors[0]).max() > 1
    described = descriptor.describe([load_picture(path) for path in paths])
    np.testing.assert_array_equal(described, vectors)


def test_pictures_are_squeezed_by_the_mean_of_what_a_pixel_covers():
    large = np.zeros((128, 128, 3), np.uint8)
    large[10, 10] = 200
    small = rows.squeeze(Image.fromarray(large))
    assert small.shape == (64, 64, 3)
    assert small[5, 5].tolist() == [50, 50, 50]
    assert small.sum() == 150


@pytest.mark.parametrize(
    ("asked", "has", "data", "kind"),
    [
        ("auto", "vectors pictures", "table", "ready"),
        ("bottom_up", "vectors", "table", "ready"),
        ("auto", "pictures", "table", "grid"),
        ("auto", "pictures", "scenes", "boxes"),
        ("grid", "pictures", "scenes", "grid"),
        ("fne", "vectors pictures", "table", "fne"),
        ("pixels", "pictures", "table", "pixels"),
        ("auto", "", "table", "neither pictures nor vectors"),
        ("pixels", "", "table", "neither pictures nor vectors"),
        ("fne", "vectors", "table", "--features fne describes pictures, .* ready vectors"),
        ("pixels", "vectors", "table", "--features pixels reads pictures, .* ready vectors"),
    ],
)
def test_which_kind_a_run_uses(asked, has, data, kind):
    settings = types.SimpleNamespace(features=asked, data=data)
    pictures = np.zeros((4, 64, 64, 3), np.uint8) if "pictures" in has else None
    vectors = np.eye(4, dtype=np.float32) if "vectors" in has else None
    split = split_of(pictures, vectors=vectors)
    if kind in descriptors.KINDS:
        assert descriptors.choose_features(settings, split, "grid") == kind
    else:
        with pytest.raises(ValueError, match=kind):
            descriptors.choose_features(settings, split, "grid")


def test_ready_vectors_are_the_splits_own_and_of_one_size(tmp_path):
    vectors = np.eye(4, dtype=np.float32)
    split = split_of(None, vectors=vectors)
    ready = descriptors.learn_descriptor("ready", split, None)
    assert ready.row_shape == (4,) and ready.rows(split, None) is vectors
    with pytest.raises(ValueError, match="vectors have 2 numbers, the run was trained on 4: is --"):
        ready.rows(dataclasses.replace(split, vectors=vectors[:, :2]), None)
    with pytest.raises(ValueError, match="train split has no vectors, unlike the training split"):
        ready.rows(dataclasses.replace(split, vectors=None), None)


@pytest.mark.parametrize(("kind", "verb"), [("regions", "describe"), ("grid", "describe"),
                                           ("pixels", "read")])  # fmt: skip
def test_a_split_without_pictures_is_refused(kind, verb, descriptor, tmp_path):
    made = one_of(kind, descriptor)
    with pytest.raises(ValueError, match=f"the train split has no pictures to {verb}, unlike"):
        made.rows(split_of(None, vectors=np.eye(4, dtype=np.float32)), kept(tmp_path))
    if kind == "regions":
        with pytest.raises(ValueError, match="one row for each picture: it has no boxes"):
            made.frames(Image.new("RGB", (9, 9)))


# ---- Networks -----------------------------------------------------------------------------------


@pytest.fixture
def networks(monkeypatch):
    """Runners that were made, of a network of NumPy in place of a CNN, in this process."""
    made = []
    monkeypatch.setattr(cnn, "Runner", lambda _: made.append(Counter()) or made[-1])
    monkeypatch.setattr(cnn, "describe_network", lambda *_: NETWORK)
    monkeypatch.setattr(activations, "in_own_process", lambda function, *given: function(*given))
    return made


def test_embeddings_of_all_splits_use_the_training_pictures_statistics(networks, tmp_path):
    (tmp_path / "other").mkdir()
    train, test = make_split(tmp_path, 20), make_split(tmp_path / "other", 7, name="test", seed=1)
    descriptor = descriptors.learn_descriptor("fne", train, kept(tmp_path / "cache"))
    seen = answers(train).astype(np.float64)
    mean, std = seen.mean(axis=0), seen.std(axis=0)
    for split in (train, test):
        vectors = descriptor.rows(split, kept(tmp_path / "cache"))
        z = (answers(split) - mean) / np.where(std == 0, np.inf, std)
        assert vectors.dtype == np.int8 and isinstance(vectors, np.memmap)
        np.testing.assert_array_equal(vectors, np.where(z > 0.15, 1, np.where(z < -0.25, -1, 0)))
    assert [runner.seen for runner in networks] == [20, 7]


def test_both_kinds_share_one_pass_and_the_cache_needs_no_network(networks, tmp_path):
    train = make_split(tmp_path, 20)
    for kind in ("fne", "last", "fne"):
        descriptor = descriptors.learn_descriptor(kind, train, kept(tmp_path / "cache"))
        vectors = descriptor.rows(train, kept(tmp_path / "cache"))
        assert vectors.shape == (20, descriptor.feature_dim)
    assert len(networks) == 1
    last = descriptors.learn_descriptor("last", train, kept(tmp_path / "cache"))
    vectors = last.rows(train, kept(tmp_path / "cache"))
    own = answers(train)[:, slice(*LAYERS.last)]
    np.testing.assert_allclose(vectors, own / np.linalg.norm(own, axis=1)[:, None], rtol=1e-6)


def test_broken_pictures_leave_no_vectors_but_all_other_activations(networks, tmp_path):
    train = make_split(tmp_path, 20)
    good = (tmp_path / "3.bmp").read_bytes()
    (tmp_path / "3.bmp").write_bytes(good[:50])
    with pytest.raises(ValueError, match=r"^1 picture of the train split cannot be read: .*3\.bmp"):
        descriptors.learn_descriptor("fne", train, kept(tmp_path / "cache"))
    (tmp_path / "3.bmp").write_bytes(good)
    descriptors.learn_descriptor("fne", train, kept(tmp_path / "cache"))
    assert [runner.seen for runner in networks] == [19, 1]


def test_pictures_are_clustered_by_the_last_layer_of_a_trained_network(networks, tmp_path):
    train, pixels = make_split(tmp_path, 20), PixelDescriptor(64, 64)
    settings = kept(tmp_path / "cache")
    settings.cnn, settings.image_weights, settings.num_classes = "MobileNetV2", "imagenet", 3
    found = cluster_rows(pixels, train, None, settings)
    own = answers(train)[:, slice(*LAYERS.last)]
    np.testing.assert_array_equal(found, own)  # those of a first stage on vectors, to the bit
    for settings.cnn, settings.image_weights in (("small", "imagenet"), ("MobileNetV2", "none")):
        with pytest.raises(ValueError, match="--num_classes 3: k-means needs a trained network"):
            cluster_rows(pixels, train, None, settings)
    assert cluster_rows(descriptors.ReadyVectors((7,)), train, own, settings) is own

"""Embeddings from elsewhere: repeated rows, odd types, damage."""

import numpy as np
import pytest

from gallery import similarity
from grading.score import grade_embeddings, merge_equal_rows, read_embeddings

RNG = np.random.default_rng(0)
IMAGE, OWNER = RNG.normal(size=(12, 8)), np.repeat(np.arange(12), 5)
TEXT = IMAGE[OWNER] + RNG.normal(size=(60, 8))


def saved(path, **arrays):
    np.savez(path, **({"image": IMAGE, "text": TEXT, "caption_image": OWNER} | arrays))
    return path


def rsum(arrays):
    image, text, owner = (arrays[name] for name in ("image", "text", "caption_image"))
    return grade_embeddings(image, text, owner, arrays.get("concepts"))[0]["rsum"]


@pytest.mark.parametrize("order", ["runs", "tiles", "any"])
def test_a_row_for_each_caption_is_found_in_any_order(tmp_path, order, caplog):
    once = rsum(read_embeddings(saved(tmp_path / "once.npz")))
    rows = {"runs": np.arange(60), "tiles": np.arange(60).reshape(12, 5).T.ravel()}
    taken = rows.get(order, RNG.permutation(60))
    concepts = np.eye(12)
    path = saved(
        tmp_path / "five.npz", image=IMAGE[OWNER[taken]], text=TEXT[taken],
        caption_image=np.arange(60), concepts=concepts[OWNER[taken]],
    )  # fmt: skip
    arrays = read_embeddings(path)
    said = r"five\.npz: its 60 image rows are 12 different ones, .*--merge_equal"
    with pytest.raises(ValueError, match=said):
        merge_equal_rows(arrays, path, None)
    merged = merge_equal_rows(arrays, path, True)
    assert merged["image"].shape == (12, 8) and merged["concepts"].shape == (12, 12)
    assert np.array_equal(merged["image"][merged["caption_image"]], IMAGE[OWNER[taken]])
    assert rsum(merged)["value"] == once["value"]  # bounds depend on the order of images
    assert "48 of 60 image rows are equal to an earlier one: merged, 12 images" in caplog.text
    assert rsum(merge_equal_rows(arrays, path, False))["value"] < once["value"]
    assert "so they tie; --merge_equal makes each one image" in caplog.text
    arrays["concepts"] = np.eye(60)
    with pytest.raises(ValueError, match="but has other concepts: merge them yourself"):
        merge_equal_rows(arrays, path, True)


def test_a_few_equal_rows_and_images_without_captions_are_said(tmp_path, caplog):
    image = np.concatenate([IMAGE, IMAGE[:2]])
    path = saved(tmp_path / "a.npz", image=image)
    arrays = read_embeddings(path)
    assert merge_equal_rows(arrays, path, None) is arrays
    assert "a.npz: 2 of 14 images have no caption" in caplog.text
    assert "2 of 14 image rows are equal to an earlier one, so they tie" in caplog.text
    collapsed = saved(tmp_path / "b.npz", image=np.ones((60, 8)), caption_image=np.arange(60))
    arrays = read_embeddings(collapsed)
    assert merge_equal_rows(arrays, collapsed, None) is arrays  # graded, as the worst


def test_types_that_are_read(tmp_path):
    plain = rsum(read_embeddings(saved(tmp_path / "a.npz")))
    for change in (
        {"image": IMAGE.astype(">f8"), "caption_image": OWNER.astype(">i4")},
        {"image": np.asfortranarray(IMAGE), "caption_image": OWNER.astype(np.float32)},
        {"caption_image": OWNER.astype(np.uint8), "similarity": np.array(b"cosine")},
        {"similarity": np.array("cosine")},
    ):
        path = saved(tmp_path / "b.npz", **change)
        arrays = read_embeddings(path)
        assert rsum(arrays) == plain and arrays["caption_image"].dtype == np.int64
        assert similarity.of_arrays(arrays, path) == "cosine"
    with pytest.raises(ValueError, match=r"b\.npz is made for the similarity 'dot'"):
        path = saved(tmp_path / "b.npz", similarity=np.array(b"dot"))
        similarity.of_arrays(read_embeddings(path), path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": np.array([{}] * 12)}, "image is an array of objects"),
        ({"caption_image": OWNER + 1}, "is 12, expected 0 to 11; it seems to count from 1"),
        ({"caption_image": OWNER.astype(float) + 0.5}, "type float64, expected"),
        ({"caption_image": OWNER.reshape(12, 5)}, r"shape \(12, 5\)"),
        ({"caption_image": OWNER - 1}, "is -1, expected 0 to 11"),
        ({"image": IMAGE[:, None]}, r"image has shape \(12, 1, 8\), expected two axes"),
        (
            {"image": RNG.normal(size=(300, 8)), "caption_image": OWNER.astype(np.uint8)},
            "caption_image is uint8, which counts to 255, for 300 images",
        ),
    ],
)
def test_types_that_are_refused_by_their_name(tmp_path, change, said):
    path = saved(tmp_path / "odd.npz", **change)
    with pytest.raises(ValueError, match=rf"odd\.npz.*{said}"):
        read_embeddings(path)


@pytest.mark.parametrize("size", [8, 800])  # read, or mapped
def test_checksums_are_compared(tmp_path, size):
    path = saved(tmp_path / "a.npz", image=np.ones((12, size)))
    content = bytearray(path.read_bytes())
    content[content.index(np.ones(3).tobytes()) + 6] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz is .*image\.npy"):
        read_embeddings(path)

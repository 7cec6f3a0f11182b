"""Submissions of strangers: each is read, or gets the status that says why not."""

import io
import os
import tracemalloc
import zipfile

import assigned
import numpy as np
import pytest

from grading.assignment import submissions
from grading.assignment.submissions import Refused, find_submissions, read_submission
from run import files, manifest
from run.folder import Run

KEY = assigned.key()
IMAGE, TEXT = assigned.shuffled(KEY, assigned.system(1))


def head(shape, kind="<f4"):
    file = io.BytesIO()
    told = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, told)
    return file.getvalue()


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def cut(path):
    assigned.put(path, IMAGE, TEXT)
    path.write_bytes(path.read_bytes()[:-400])


def flipped(path):
    assigned.put(path, IMAGE, TEXT)
    content = bytearray(path.read_bytes())
    content[500] ^= 255
    path.write_bytes(content)


def changed(place, value, rows=IMAGE):
    rows = rows.copy()
    rows[place] = value
    return rows


BROKEN = {  # how, and the beginning of the status
    "no zip": (lambda p: p.write_text("my embeddings"), "unreadable: not a whole .npz file"),
    "empty": (lambda p: p.touch(), "unreadable: not a whole .npz file"),
    "cut off": (cut, "unreadable: not a whole .npz file"),
    "a bit flipped": (flipped, "unreadable: not a whole .npz file (Bad CRC-32"),
    "objects": (lambda p: assigned.put(p, IMAGE.astype(object), TEXT), "unreadable: damaged, or"),
    "no text": (lambda p: np.savez(p, image=IMAGE), "unreadable: lacks text; it holds image"),
    "rows": (lambda p: assigned.put(p, IMAGE[1:], TEXT), "wrong shape"),
    "columns": (lambda p: assigned.put(p, IMAGE[:, 1:], TEXT), "wrong shape"),
    "one axis": (lambda p: assigned.put(p, IMAGE[:, 0], TEXT), "wrong shape"),
    "type": (lambda p: assigned.put(p, IMAGE.astype(int), TEXT), "unreadable: image is int64"),
    "NaN": (lambda p: assigned.put(p, IMAGE, changed((7, 1), np.nan, TEXT)), "NaN"),
    "infinity": (lambda p: assigned.put(p, changed((3, 0), -np.inf), TEXT), "NaN"),
    "other data": (
        lambda p: assigned.put(p, IMAGE, TEXT, data=np.frombuffer(b"x" * 64, np.uint8)),
        "other data",
    ),
    "ids twice": (
        lambda p: assigned.put(p, IMAGE, TEXT, image_ids=np.zeros(assigned.IMAGES, int)),
        "unreadable: image_ids must hold each number from 0 to 59 once",
    ),
    "claims a petabyte": (
        lambda p: zipped(p, image=head((60, 1 << 44)), text=head((120, 1 << 44))),
        "unreadable: damaged, or no .npz of plain arrays (image has not the size of its shape",
    ),
    "a head of 4 GB": (
        lambda p: zipped(p, image=b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", text=head((120, 2))),
        "unreadable: damaged, or no .npz of plain arrays",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_each_way_of_being_broken_has_its_status(how, tmp_path):
    make, status = BROKEN[how]
    make(tmp_path / "a.npz")
    with pytest.raises(Refused) as refused:
        read_submission(tmp_path / "a.npz", KEY)
    assert refused.value.status.startswith(status)
    assert str(tmp_path) not in refused.value.status


def test_what_inflates_to_gigabytes_is_not_inflated(tmp_path):
    size = 1 << 26
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("image", "text"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(head((60, size // 240)))
                for _ in range(size >> 24):
                    member.write(bytes(1 << 24))
    tracemalloc.start()
    with pytest.raises(Refused) as refused:
        read_submission(tmp_path / "a.npz", KEY)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 22 and refused.value.status.startswith(("unreadable", "wrong shape"))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_rows_are_read_as_they_are(kind, tmp_path):
    path = assigned.put(tmp_path / "a.npz", IMAGE.astype(kind), TEXT.astype(kind))
    own = read_submission(path, KEY)
    assert own.problem == "" and own.image.dtype == kind
    np.testing.assert_array_equal(own.text, TEXT.astype(kind))


def test_rows_in_another_order_are_put_right_by_their_ids(tmp_path):
    rng = np.random.default_rng(0)
    images, captions = rng.permutation(len(IMAGE)), rng.permutation(len(TEXT))
    path = tmp_path / "a.npz"
    assigned.put(path, IMAGE[images], TEXT[captions], image_ids=images, caption_ids=captions)
    own = read_submission(path, KEY)
    np.testing.assert_array_equal(own.image, IMAGE)
    np.testing.assert_array_equal(own.text, TEXT)


def test_rows_of_other_norms_are_kept_with_a_problem(tmp_path):
    own = read_submission(assigned.put(tmp_path / "a.npz", IMAGE, 3 * TEXT), KEY)
    assert own.problem == "not unit rows" and own.note == "norms of text rows: 3 to 3"


def test_runs_are_read_and_what_they_know_is_looked_at(tmp_path):
    run = assigned.leave_run(Run(tmp_path / "run"), KEY, IMAGE, TEXT)
    np.testing.assert_array_equal(read_submission(run.folder, KEY).image, IMAGE)
    for split in ("train", "validation"):
        record = files.read_json(run.data)
        record["splits"][split] |= {"contents": ["b" * 16, "a" * 16], "images": ["x", "y"]}
        files.write_json(run.data, record)
        own = read_submission(run.folder, KEY)
        assert own.problem == "test images in training"
        assert own.note == "1 of the test images are in its train split: y"
    other = assigned.leave_run(Run(tmp_path / "other"), assigned.key(data="x"), IMAGE, TEXT)
    with pytest.raises(Refused) as refused:
        read_submission(other.folder, KEY)
    assert refused.value.status == "other data"


def test_a_run_of_the_original_data_is_put_in_the_keys_order(tmp_path):
    run = Run(tmp_path / "run")
    image, text = assigned.system(1)
    assigned.leave_run(run, assigned.key(data=KEY.original), image, text)
    run.submission.rename(run.projections)
    files.write_json(run.score, {"protocol": {"split": "test"}, "hashes": {}})
    np.testing.assert_array_equal(read_submission(run.folder, KEY).text, TEXT)
    files.write_json(run.score, {"protocol": {"split": "validation"}, "hashes": {}})
    with pytest.raises(Refused) as refused:
        read_submission(run.folder, KEY)
    assert refused.value.status == "unreadable: it was graded on another split than test"


def test_a_run_that_was_edited_is_refused(tmp_path):
    manifest.begin(tmp_path / "run")
    run = assigned.leave_run(Run(tmp_path / "run"), KEY, IMAGE, TEXT)
    read_submission(run.folder, KEY)
    np.savez(run.submission, image=TEXT[:60], text=TEXT)
    with pytest.raises(Refused) as refused:
        read_submission(run.folder, KEY)
    assert "is not as it was written" in refused.value.status


def test_every_entry_of_the_folder_is_found(tmp_path):
    for name in ("ann.npz", "ben/mine.npz", "cleo/a.npz", "cleo/b.npz", "notes.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dora").mkdir()
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").touch()
    names = dict(find_submissions(tmp_path))
    assert list(names) == [
        "ann.npz", "ben", "cleo/a.npz", "cleo/b.npz", "dora", "notes.txt", "pipe.npz", "run",
    ]  # fmt: skip
    assert names["ben"] == tmp_path / "ben/mine.npz"
    for name in ("dora", "notes.txt", "pipe.npz", "run"):
        with pytest.raises(Refused) as refused:
            read_submission(names[name], KEY)
        assert refused.value.status.startswith("unreadable: ")
    for folder in ("none", "dora"):
        with pytest.raises(ValueError, match=r"is no folder|is empty"):
            find_submissions(tmp_path / folder)


def test_json_of_any_size_is_not_read(tmp_path, monkeypatch):
    run = assigned.leave_run(Run(tmp_path / "run"), KEY, IMAGE, TEXT)
    monkeypatch.setattr(submissions, "LARGEST", 100)
    with pytest.raises(Refused) as refused:
        read_submission(run.folder, KEY)
    assert refused.value.status.startswith("unreadable: data.json is larger than")

"""People's own folders of pictures: what is found, described, kept, forgotten and refused."""

import os
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import make_run, pixel_run

from answering import albums, search
from answering.albums import describing, index, scanning, updating
from answering.pictures import PictureEncoder
from data.pictures import load_picture
from run import files, manifest
from run.folder import Run

ODD = "odd \udcff\nname.png" if sys.platform == "linux" else "odd name.png"


def album_run(folder: Path) -> Run:
    """A run whose image tower answers the mean colour of the pixels; with weights and hashes."""
    manifest.begin(folder)
    run = pixel_run(folder)
    write_weights(run, b"some")
    return run


def write_weights(run, content):
    with files.atomic_path(run.best_weights) as temporary:
        temporary.write_bytes(content)


def paint(path: Path, colour, size=(40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def fill(folder: Path, count: int) -> Path:
    """Pictures of different colours and sizes."""
    for i in range(count):
        paint(folder / f"{i:03}.png", (250 - 5 * i, 3 + i, 9 * i % 250), (40 + i % 3, 30))
    return folder


@pytest.fixture
def run(tmp_path):
    return album_run(tmp_path / "exp" / "run")


@pytest.fixture
def told():
    return []


def index_of(run) -> Path:
    """The one file of an index in the run's folder."""
    return next((run / "albums").glob("*/album.npz"))


def test_all_pictures_below_a_folder_are_found_once_and_nothing_else(tmp_path):
    photos = tmp_path / "photos"
    names = ["b.JPG", "a/deep/er/c.png", "a/d.webp", ODD, "scenes:0:test:1.png"]
    if sys.platform == "win32":
        names.pop()
    for name in names:
        paint(photos / "x.png", "red").rename(_made(photos / name))
    for name in (".hidden.png", ".cache/e.png", "notes.txt", "a/song.mp3", "png"):
        _made(photos / name).write_bytes(b"no")
    (photos / "folder.png").mkdir()
    os.symlink(photos, photos / "a" / "loop", target_is_directory=True)
    os.symlink(photos / "a", photos / "again", target_is_directory=True)
    os.symlink("self.png", photos / "self.png")
    os.symlink("nowhere.png", photos / "gone.png")
    elsewhere = paint(tmp_path / "elsewhere" / "f.png", "red").parent
    os.symlink(elsewhere, photos / "linked", target_is_directory=True)
    found = scanning.scan(photos)
    assert found.names == sorted([*names, "linked/f.png"])
    assert found.sizes.tolist() == [os.path.getsize(photos / name) for name in found.names]
    assert not found.closed and found.others >= 3


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_rows_are_those_of_the_pictures_and_a_gallery_can_be_made_of_them(tmp_path, run, told):
    photos = fill(tmp_path / "photos", 21)
    paint(photos / "below" / ODD, "blue", (60, 20))
    album = albums.open_album(run, photos, tell=told.append)
    encoder = PictureEncoder(run)
    names = sorted([f"{i:03}.png" for i in range(21)] + [f"below/{ODD}"])
    assert list(album.image_names) == names and album.num_captions == 0
    expected = [encoder([load_picture(str(photos / name))])[0] for name in names]
    np.testing.assert_allclose(album.image, expected, atol=1e-6)
    blue = np.array([[0, 0, 1, 0, 0, 0, 0]], np.float32)
    best = search.nearest_images(album, blue, 3)[0]
    assert best.name == f"below/{ODD}" and best.caption == "" and best.score > 0.999
    picture = search.GalleryPictures(run, album)(best.image)
    assert picture is not None and picture.size == (60, 20)
    assert len(told) == 1 and told[0].startswith("described 22 pictures in ")


def test_a_second_start_describes_nothing_and_a_change_describes_that_alone(
    tmp_path, run, told, monkeypatch
):
    photos = fill(tmp_path / "photos", 12)
    albums.open_album(run, photos, tell=told.append)
    first, before = index_of(run).read_bytes(), sorted((run / "albums").rglob("*"))
    monkeypatch.setattr(updating, "update", None)  # an unchanged folder needs no update
    told.clear()
    assert albums.open_album(run, photos, tell=told.append).num_images == 12
    monkeypatch.undo()
    assert told == [] and index_of(run).read_bytes() == first
    assert sorted((run / "albums").rglob("*")) == before

    os.utime(photos / "000.png", (1, 1))  # another time, the same bytes
    (photos / "001.png").rename(photos / "moved.png")
    assert albums.open_album(run, photos, tell=told.append).num_images == 12
    assert told == []
    paint(photos / "002.png", (0, 0, 255))
    paint(photos / "new.png", (0, 255, 0))
    (photos / "003.png").unlink()
    album = albums.open_album(run, photos, tell=told.append)
    assert [line.split(" in ")[0] for line in told] == ["described 2 pictures"]
    names = list(album.image_names)
    assert names == sorted(path.name for path in photos.iterdir())
    encoder = PictureEncoder(run)
    expected = [encoder([load_picture(str(photos / name))])[0] for name in names]
    np.testing.assert_allclose(album.image, expected, atol=1e-6)


def test_a_stopped_description_goes_on_and_leaves_the_same_bytes(tmp_path, run, told, monkeypatch):
    photos = fill(tmp_path / "photos", 47)
    (photos / "broken.png").write_bytes(b"no picture")
    (photos / "also.png").write_bytes(b"")
    albums.open_album(run, photos, tell=told.append)
    whole = {path.name: path.read_bytes() for path in index_of(run).parent.iterdir()}
    assert set(whole) == {"album.npz", "manifest.json", ".lock"}
    usual = describing.describe_files

    def stopping(after):
        def describe(*args):
            for number, batch in enumerate(usual(*args)):
                if number == after:
                    raise KeyboardInterrupt
                yield batch

        return describe

    monkeypatch.setattr(updating, "SAVE_SECONDS", -1.0)  # a part of each batch
    for stops in ([0], [1], [5], [2, 1, 1]):
        place = tmp_path / f"index {stops}"
        for after in stops:
            monkeypatch.setattr(updating, "describe_files", stopping(after))
            with pytest.raises(KeyboardInterrupt):
                albums.open_album(run, photos, place, told.append)
        assert len(list((place / "parts").glob("*.part"))) == sum(stops)
        (place / "parts" / ".999999999.000009.part").parent.mkdir(exist_ok=True)
        (place / "parts" / ".999999999.000009.part").write_bytes(b"killed while it was written")
        monkeypatch.setattr(updating, "describe_files", usual)
        told.clear()
        albums.open_album(run, photos, place, told.append)
        assert (
            told[0].split(" in ")[0] == f"described {49 - describing.AT_ONCE * sum(stops)} pictures"
        )
        assert {path.name: path.read_bytes() for path in place.iterdir()} == whole


def test_damage_is_noticed_and_made_good(tmp_path, run, told):
    photos = fill(tmp_path / "photos", 9)
    albums.open_album(run, photos, tell=told.append)
    path = index_of(run)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 8):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        told.clear()
        albums.open_album(run, photos, tell=told.append)
        assert "not as it was written" in told[0] and told[0].endswith("are described anew")
        assert path.read_bytes() == whole
    for name, content in (("album.npz", whole[:100]), ("manifest.json", b'{"kind": ')):
        (path.parent / name).write_bytes(content)
        told.clear()
        albums.open_album(run, photos, tell=told.append)
        assert "described anew" in told[0] and path.read_bytes() == whole


def test_a_damaged_part_is_described_again(tmp_path, run, told, monkeypatch):
    """Its rows are so many that they are mapped: to open them compares no checksum."""
    monkeypatch.setattr(files, "HEAD", 256)
    photos, place = tmp_path / "photos", tmp_path / "index"
    for i in range(150):
        paint(photos / f"{i:03}.bmp", (i, 150 - i, 3), (8, 6))
    with monkeypatch.context() as patch:
        patch.setattr(updating, "_write_whole", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            albums.open_album(run, photos, place, told.append)
    part = next(place.glob("parts/*.part"))
    damaged = bytearray(part.read_bytes())
    damaged[damaged.find(b"image.npy") + 2000] ^= 4
    part.write_bytes(damaged)
    told.clear()
    album = albums.open_album(run, photos, place, told.append)
    assert told[0].startswith("described 150 ")
    whole = albums.open_album(run, photos, tmp_path / "anew", told.append)
    np.testing.assert_array_equal(album.image, whole.image)


def test_rows_of_other_weights_are_described_anew(tmp_path, run, told):
    photos = fill(tmp_path / "photos", 3)
    albums.open_album(run, photos, tell=told.append)
    write_weights(run, b"others")
    told.clear()
    albums.open_album(run, photos, tell=told.append)
    assert "is of other weights than" in told[0] and told[1].startswith("described 3 pictures")


def test_what_cannot_be_read_is_named_and_counted(tmp_path, run, told):
    photos = fill(tmp_path / "photos", 3)
    for name in ("cut.jpg", "phone.HEIC", "empty.png", "text.gif"):
        (photos / name).write_bytes({"empty.png": b""}.get(name, b"no picture"))
    album = albums.open_album(run, photos, tell=told.append)
    assert album.num_images == 3 and sorted(album.broken)[0] == "cut.jpg"
    assert (
        told[1].startswith("4 pictures cannot be read: cut.jpg (damaged or")
        and "and 1 more" in told[1]
    )
    again = []
    albums.open_album(run, photos, tell=again.append)
    assert again == told[1:]  # they are not tried again
    paint(photos / "empty.png", "red")
    told.clear()
    assert albums.open_album(run, photos, tell=told.append).num_images == 4
    assert told[0].startswith("described 1 pictures") and told[1].startswith("3 pictures cannot")


def test_what_cannot_be_right_is_refused_in_one_line(tmp_path, run, told):
    photos = fill(tmp_path / "photos", 2)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("no")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no")
    other = albums.open_album(run, fill(tmp_path / "other", 2), tmp_path / "kept", told.append)
    ready = make_run(tmp_path / "ready")
    cases = [
        (run, tmp_path / "nosuch", None, "nosuch does not exist: give a folder"),
        (run, photos / "000.png", None, "is no folder: give a folder"),
        (run, "", None, "--pictures has no name: give a folder"),
        (run, tmp_path / "none", None, "no picture in it, only 1 other files; names"),
        (run, tmp_path / "bad", None, "none of the 1 pictures can be read"),
        (run, photos, photos / "index", "lies in the folder of pictures, where nothing is"),
        (run, photos, photos, "lies in the folder of pictures"),
        (run, photos, run.folder, "holds other files than an index"),
        (run, photos, run.score.parent / "config.json", "is no folder: choose another name"),
        (run, photos, tmp_path / "kept", f"is the index of {other.folder}: give --index another"),
        (run, tmp_path, None, "lies in the folder of pictures, where nothing is written: give"),
        (ready, photos, None, "its data came as ready vectors"),
    ]
    for asked, folder, place, message in cases:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            albums.open_album(asked, folder, place, told.append)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in photos.iterdir()) == ["000.png", "001.png"]


def test_several_at_once_describe_each_picture_once(tmp_path, run, monkeypatch):
    photos, told = fill(tmp_path / "photos", 30), []
    opened = []

    def work():
        opened.append(albums.open_album(run, photos, tell=told.append))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4 and len(told) == 1 and told[0].startswith("described 30 pictures")
    assert all(np.array_equal(album.image, opened[0].image) for album in opened)
    index.read_index(index_of(run).parent)


def test_pictures_like_a_picture(tmp_path, run, told):
    photos = fill(tmp_path / "photos", 10)
    paint(photos / "sub" / "like.png", (249, 4, 1), (40, 30))
    album = albums.open_album(run, photos, tell=told.append)
    for given in ("000.png", "0", str(photos / "000.png")):
        asked = search.ask_picture(run, album, given)
        answers, note = asked.nearest(album, 3)
        assert answers[0].name == "sub/like.png" and len(answers) == 3
        assert asked.finds_pictures and "3 nearest of 11 pictures" in note
        assert "000.png" not in [answer.name for answer in answers]
    asked = search.ask_picture(run, album, str(photos / "sub" / "like.png"))
    assert asked.row is not None and asked.nearest(album, 1)[0][0].name == "000.png"
    foreign = paint(tmp_path / "foreign.png", (240, 5, 9))
    answers, _ = search.ask_picture(run, album, str(foreign)).nearest(album, 20)
    assert len(answers) == 11 and answers[0].name in ("sub/like.png", "000.png", "001.png")

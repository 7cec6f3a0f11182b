"""What the page answers, route by route, and what it refuses to take."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from answering import albums, search
from answering.albums import judging
from answering.page import facts, opened, tiles
from answering.page.app import make_app
from answering.page.guard import Guard
from answering.page.opened import Runs
from data.scenes import world
from gallery.stored import Gallery
from run import files
from run.folder import Run

SCRIPT = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


def picture_bytes(size=(40, 30), kind="PNG", colour=(250, 10, 10)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_claims(width, height):
    """A small PNG of so many pixels, all of them there: zeros pack well."""
    packer, rows = zlib.compressobj(), []
    for _ in range(height):
        rows.append(packer.compress(bytes(1 + width // 8)))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = b"".join([*rows, packer.flush()])
    parts = ((b"IHDR", head), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def opened_picture(response):
    with Image.open(io.BytesIO(response.data)) as picture:
        picture.load()
        return picture


def test_the_page_lists_scored_runs_the_latest_first(client):
    told = client.get("/").text
    names = [part.split('"')[0] for part in told.split('<option value="')[1:]]
    assert names == ["drawn", "plain", "order"]
    for name in ("page.css", "page.js", "parts.js", "icon.svg"):
        found = client.get(f"/static/{name}")
        assert found.status_code == 200 and f"/static/{name}" in told
    assert "<script>" not in told and " style=" not in told and "http" not in told


def test_a_run_is_described(client):
    found = client.get("/api/run?run=drawn").get_json()
    assert (found["images"], found["captions"], found["similarity"]) == (5, 10, "cosine")
    assert found["describes"] and [one["image"] for one in found["samples"]] == [0, 1, 2, 3, 4]
    assert "red circle" in found["examples"] and len(found["examples"]) == 6
    assert not {"a circle that is blue", SCRIPT} & set(found["examples"])  # unknown words
    found = client.get("/api/run?run=plain").get_json()
    assert not found["describes"] and found["why_not"].endswith("its data came as ready vectors")
    assert not any(one["picture"] for one in found["samples"])


@pytest.mark.parametrize("name", ["plain", "order", "drawn"])
def test_answers_are_those_of_a_query(client, root, name):
    run = Run(root / "exp" / name)
    encoder, gallery = search.QueryEncoder(run), Gallery(run)
    answers, note = search.ask_sentence(encoder, "a red zebra square").nearest(gallery, 3)
    found = client.get(f"/api/ask?run={name}&q=a+red+zebra+square&k=3").get_json()
    assert found["unknown"] == ["zebra"] and found["note"] == note
    assert [one["image"] for one in found["answers"]] == [one.image for one in answers]
    np.testing.assert_allclose(
        [one["score"] for one in found["answers"]], [one.score for one in answers], atol=1e-12
    )


def test_what_was_read_otherwise_is_told(client):
    found = client.get("/api/ask?run=plain&q=red+circels+not+2+stars").get_json()
    assert "read as circels: circle, stars: star" in found["note"]
    assert found["unknown"] == ["not"] and len(found["remarks"]) == 2
    assert [one["fits"] for one in found["answers"]] == [None] * 5
    found = client.get("/api/explain?run=plain&image=2&q=red+sqare").get_json()
    assert found["sentence"] == "red square" and found["words"][1]["change"] < -0.2


def test_a_picture_has_its_captions_and_its_neighbours(client, root):
    found = client.get("/api/image?run=plain&image=4&k=2").get_json()
    assert found["own_captions"] == ["blue circle", "a circle that is blue"]
    assert found["captions"][0]["own"] and found["captions"][0]["score"] == pytest.approx(1)
    # Of image 3's six words two are its own, of image 0's two one. No picture is its own neighbour.
    assert [one["image"] for one in found["answers"]] == [3, 0]
    assert [one["score"] for one in found["answers"]] == pytest.approx([3**-0.5, 0.5])
    image = Gallery(Run(root / "exp" / "order")).image
    found = client.get("/api/image?run=order&image=0&k=4").get_json()
    cosines = np.sort(np.delete(image.astype(float) @ image[0], 0))[::-1]
    assert [one["score"] for one in found["answers"]] == pytest.approx(cosines)


def test_a_match_is_explained(client):
    found = client.get("/api/explain?run=plain&image=2&q=a+Red+zebra,+Square").get_json()
    assert [word["word"] for word in found["words"]] == ["Red", "zebra", "Square"]
    assert found["words"][0]["change"] == pytest.approx(-0.2929, abs=1e-4)
    assert found["words"][1] == {"word": "zebra", "change": None, "note": "unknown"}
    assert not found["heat"] and "ready vectors" in found["why_not"]
    assert client.get("/heat.png?run=plain&image=2&q=red").status_code == 404
    found = client.get("/api/explain?run=drawn&image=1&q=red+blue").get_json()
    assert found["heat"] and found["largest"] > 0
    heat = opened_picture(client.get("/heat.png?run=drawn&image=1&q=red+blue"))
    assert heat.format == "PNG" and max(heat.size) == 2 * tiles.SMALL
    found = client.get("/api/explain?run=drawn&image=2&q=red").get_json()
    assert (
        found["words"] and not found["heat"] and found["why_not"] == "the picture cannot be shown"
    )


def test_pictures_go_by_their_number_and_are_small(client, root):
    tile = client.get("/tile.jpg?run=drawn&image=0")
    assert opened_picture(tile).size == (213, 320) and tile.mimetype == "image/jpeg"
    assert opened_picture(client.get("/picture.jpg?run=drawn&image=0")).size == (600, 900)
    drawn = opened_picture(client.get("/tile.jpg?run=drawn&image=4"))
    assert drawn.size == (320, 320)
    scene = Image.fromarray(world.picture("test", 4, 0)).resize((320, 320))
    difference = np.abs(np.asarray(drawn, float) - np.asarray(scene, float))
    assert difference.mean() < 6
    for image in (2, 3):  # missing, and outside the folder of the data
        assert client.get(f"/tile.jpg?run=drawn&image={image}").status_code == 404
    anywhere = Runs(root / "exp", anywhere=True)
    assert anywhere.open("drawn").picture(3, 320) is not None


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("/api/ask?run=plain&q=zebra", "knows no word of the query (zebra)"),
        ("/api/ask?run=plain&q=", "the query is empty"),
        ("/api/ask?run=plain&q=" + "red+" * 600, "at most 2,000 can be asked"),
        ("/api/ask?run=plain&q=red&k=0", "expected a number from 1 to 200"),
        ("/api/ask?run=plain&q=red&k=1000000", "expected a number from 1 to 200"),
        ("/api/ask?run=nosuch&q=red", "there is no scored run 'nosuch'"),
        ("/api/ask?run=unscored&q=red", "there is no scored run 'unscored'"),
        ("/api/ask?run=../exp/plain&q=red", "there is no scored run"),
        ("/api/image?run=plain&image=5", "expected a number from 0 to 4"),
        ("/api/image?run=plain&image=-1", "expected a number from 0 to 4"),
        ("/api/image?run=plain&image=%C2%B2", "expected a number from 0 to 4"),
        ("/tile.jpg?run=drawn&image=../../secret.png", "expected a number from 0 to 4"),
        ("/tile.jpg?run=drawn&image=" + "9" * 400, "expected a number from 0 to 4"),
        ("/picture.jpg?run=drawn", "expected a number from 0 to 4"),
        ("/api/explain?run=plain&image=0&q=zebra", "knows no word of the query (zebra)"),
    ],
)
def test_what_cannot_be_answered_is_told_in_a_line(client, address, told):
    found = client.get(address)
    assert found.status_code == 400 and told in found.get_json()["error"]
    assert "\n" not in found.get_json()["error"]


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2f..%2fretrieve.py",
     "/static//etc/passwd", "/app.py", "/page.html", "/..%2fsecret.png"],
)  # fmt: skip
def test_no_other_file_is_served(client, path):
    assert client.get(path, follow_redirects=True).status_code == 404


def test_a_picture_that_is_sent_finds_captions_and_pictures(client, runs):
    # The tower of the run has three colours on its first three axes: red, blue and circle.
    found = client.post("/api/picture?run=drawn&k=2", data=picture_bytes(colour=(255, 255, 255)))
    assert found.status_code == 200
    found = found.get_json()
    gallery = runs.open("drawn").gallery
    white = np.zeros((1, 7))
    white[0, :3] = 3**-0.5
    expected = facts.neighbours(gallery, white, 2)
    assert [one["image"] for one in found["answers"]] == [
        one["image"] for one in expected["answers"]
    ]
    assert found["captions"][0]["score"] == pytest.approx(
        expected["captions"][0]["score"], abs=1e-6
    )


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_usual_kinds_of_pictures_are_taken(client, kind):
    assert client.post("/api/picture?run=drawn", data=picture_bytes(kind=kind)).status_code == 200


def test_a_picture_of_two_views_is_taken(client):
    file, views = io.BytesIO(), [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    views[0].save(file, "MPO", save_all=True, append_images=views[1:])
    with Image.open(io.BytesIO(file.getvalue())) as opened:
        assert opened.format == "MPO"
    assert client.post("/api/picture?run=drawn", data=file.getvalue()).status_code == 200


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pictures_that_are_no_pictures_or_too_large_are_refused(client):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    postscript = io.BytesIO()
    Image.new("RGB", (9, 9)).save(postscript, "EPS")  # which Pillow would give to another program
    bomb = png_that_claims(10_000, 10_000)
    assert len(bomb) < 100_000
    cases = [
        (svg, "is damaged or no picture"),
        (postscript.getvalue(), "is damaged or no picture"),
        (b"", "is damaged or no picture"),
        (picture_bytes(kind="PCX"), "is damaged or no picture"),  # Pillow reads it; no browser does
        (picture_bytes()[:40], "is damaged or no picture"),
        (bomb, "10,000 x 10,000 pixels, at most 64,000,000 are read"),
        (png_that_claims(20_000, 10_000), "exceeds limit"),
        (b"\0\0\0\x18ftypheic" + bytes(99), "HEIC: save it as JPEG"),
    ]
    for data, told in cases:
        found = client.post("/api/picture?run=drawn", data=data)
        assert found.status_code == 400 and told in found.get_json()["error"], told
        assert "BytesIO" not in found.get_json()["error"]
        assert "MPO" not in found.get_json()["error"]  # a KeyError's word
    found = client.post("/api/picture?run=drawn", data=bytes(50 << 20))
    assert found.status_code == 413 and "larger than 20 MB" in found.get_json()["error"]
    found = client.post("/api/picture?run=plain", data=picture_bytes())
    assert found.status_code == 400 and "came as ready vectors" in found.get_json()["error"]


def test_a_run_that_was_graded_again_is_opened_again(root, runs):
    before = runs.open("plain")
    assert runs.open("plain") is before
    arrays = files.open_arrays(before.gallery.path)
    files.write_arrays(before.gallery.path, {name: one.copy() for name, one in arrays.items()})
    after = runs.open("plain")
    assert after is not before and after.version != before.version


def test_few_runs_stay_open(root, monkeypatch):
    monkeypatch.setattr(opened, "MOST_OPEN", 2)
    runs = Runs(root / "exp")
    first = runs.open("drawn")
    for name in ("plain", "drawn", "order"):
        runs.open(name)
    assert list(runs.kept) == ["drawn", "order"] and runs.open("drawn") is first


def test_a_run_from_elsewhere_goes_by_its_path(root, tmp_path):
    run = Run(root / "exp" / "plain")
    assert list(Runs(tmp_path, run).named()) == [str(run)]
    assert next(iter(Runs(root / "exp", run).named())) == "plain"


def test_no_run_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no scored run in .* yet: python train\.py"):
        Runs(tmp_path).open()


def test_own_pictures_are_asked(root, tmp_path):
    """A folder of pictures, with a file name that is a script, by one run."""
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    for name, colour in (("red.png", "red"), ("sub/white.png", "white"), ("<b>x.png", "blue")):
        Image.new("RGB", (30, 20), colour).save(folder / name)
    run = Run(root / "exp" / "drawn")
    album = albums.open_album(run, folder, tmp_path / "index", lambda line: None)
    runs = Runs(root / "exp", run, album=album)
    assert list(runs.named()) == ["drawn"]
    client = make_app(runs, Guard()).test_client()
    found = client.get("/api/run").get_json()
    assert (found["images"], found["captions"], found["examples"]) == (3, 0, [])
    assert found["folder"] == str(folder) and found["describes"]
    found = client.get("/api/ask?q=red").get_json()["answers"]
    assert found[0]["name"] == "red.png" and not any(o["caption"] for o in found)
    row = next(one["image"] for one in found if one["name"] == "sub/white.png")
    tile = opened_picture(client.get(f"/tile.jpg?image={row}"))
    assert tile.size == (320, 213) and np.asarray(tile)[9, 9].min() > 250
    found = client.get(f"/api/image?image={row}&k=9").get_json()
    assert found["captions"] == found["own_captions"] == [] and len(found["answers"]) == 2
    assert client.get(f"/api/explain?image={row}&q=red+blue").get_json()["heat"]
    found = client.post("/api/picture?k=1", data=picture_bytes(colour=(255, 0, 0))).get_json()
    assert [one["name"] for one in found["answers"]] == ["red.png"] and found["captions"] == []
    runs.kept["drawn"].version = "of another score"
    found = client.get("/api/ask?q=red")
    assert found.status_code == 400 and "was scored again" in found.get_json()["error"]


def test_own_pictures_that_do_not_fit_are_weak(root, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    folder.mkdir()
    Image.new("RGB", (30, 20), "red").save(folder / "red.png")
    run = Run(root / "exp" / "drawn")
    fit = {"weak_below": 2.0, "rare_below": -99.0, "words": {"red": 3}}
    monkeypatch.setattr(judging, "read_fit", lambda run: fit)
    album = albums.open_album(run, folder, tmp_path / "index", lambda line: None)
    found = Runs(root / "exp", run, album=album).open().ask("red", 3)
    assert [one["weak"] for one in found["answers"]] == [True]
    assert "nothing here fits: below 2.000" in found["note"]


def test_many_ask_at_the_same_time(runs):
    """Answers and explanations are those that one asker gets."""
    run = runs.open("drawn")
    words = ["red circle", "blue star"]

    def ask(number):
        word, row = words[number // 2], number % 2
        return run.ask(word, 3), run.explain(row, word), run.tile(row), run.look(row, 3)

    alone = [ask(number) for number in range(4)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, list(range(4)) * 10))
    assert found == alone * 10

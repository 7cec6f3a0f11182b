"""retrieve.py as people run it, on the hand-made run of `tiny_run`."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import reference_metrics as reference
from conftest import ROOT
from PIL import Image
from tiny_run import CAPTIONS, NAMES, gallery_arrays, make_run, write_image_tower

from answering import truth
from data.scenes import world
from data.vision import descriptors, regions
from gallery import nearest, similarity, stored
from run import files, onnx_graphs
from run.folder import Run

HEAVY = ("tensorflow", "keras", "sklearn", "scipy", "pandas", "matplotlib.pyplot")
SPY = f"""
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
    with open(os.environ.get("EXECUTED", os.devnull), "w") as file:
        for module in list(sys.modules.values()):
            print(getattr(module, "__file__", None) or "", file=file)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """exp/plain: no pictures. exp/pictures: files, of which one is missing and one is damaged.

    exp/order: as plain, compared by order similarity.
    """
    root = tmp_path_factory.mktemp("root")
    make_run(root / "exp" / "plain")
    arrays = gallery_arrays() | {"similarity": similarity.pack_similarity("order")}
    files.write_arrays(make_run(root / "exp" / "order").projections, arrays)
    data = root / "data"
    (data / "folder").mkdir(parents=True)
    for i, name in enumerate(NAMES[1:4]):
        shade = np.full((20 + 30 * i, 40, 3), 60 * i, np.uint8)
        shade[:, :20] = 255 - shade[:, :20]
        Image.fromarray(shade).save(data / name)
    Image.fromarray(world.draw_scene(world.make_scene("test", 0))).save(data / "four.png")
    for path in (data / "3", root / "3", root / "broken.png"):
        path.write_bytes(b"no picture")
    for name in ("foreign.png", "two.png"):
        (root / name).write_bytes((data / "two.png").read_bytes())
    captions = [
        ["red circle \x1b[31m\ud800 $x$ 😀", "b"],
        ["c"],
        ["d", "e", "f"],
        ["small red circle above blue star", "h"],
        ["i", "j"],
    ]
    run = make_run(root / "exp" / "pictures", data, captions=captions, pictures=NAMES)
    rng = np.random.default_rng(0)
    descriptor = regions.RegionDescriptor.learn(
        np.stack([world.draw_scene(world.make_scene("train", i)) for i in range(20)])
    )
    descriptor.save(run.features)
    write_image_tower(run.image_tower, rng.normal(size=(descriptor.feature_dim, 7)))
    return root


def retrieve(root, *args, spy=False, **how):
    """Runs retrieve.py in `root`; stdout and stderr as text."""
    script = [sys.executable, *(["-c", SPY] if spy else []), str(ROOT / "retrieve.py")]
    environment = {**os.environ, "COLUMNS": "72", **how.pop("env", {})}
    return subprocess.run(
        [*script, *args],
        cwd=root,
        env=environment,
        capture_output=True,
        check=False,
        timeout=120,
        **{"encoding": "utf-8", "errors": "surrogateescape", **how},
    )


def test_a_query_gives_a_table_and_a_picture(root):
    done = retrieve(root, "--exp", "plain", "--k", "3", "a", "red", "zebra", "square", spy=True)
    lines = done.stdout.splitlines()
    picture = os.path.join("exp", "plain", "answer.png")
    assert lines == [
        "a red zebra square",
        f"3 nearest of 5 pictures · {os.path.join('exp', 'plain')}",
        "rank    score  image             caption",
        "   1   1.0000  folder/three.png  red square",
        "   2   0.5000  one.png           red circle",
        "   3   0.2887  four.png          red above blue",
        f"picture: {picture}",
    ]
    assert done.stderr.splitlines() == ["not known to the model: zebra", "imported: []"]
    assert done.returncode == 0
    with Image.open(root / picture) as drawn:
        drawn.load()
        assert drawn.format == "PNG" and drawn.width > 600


def test_a_query_executes_few_files_and_what_draws_its_answer(tmp_path):
    """As of a run on the built-in scenes, whose pictures are drawn anew."""
    drawn = [f"scenes:0:test:{index}" for index in range(len(NAMES))]
    run = make_run(tmp_path / "exp" / "scenes", pictures=drawn)
    arrays = gallery_arrays(pictures=drawn) | truth.pack_truth(drawn)
    files.write_arrays(run.projections, arrays)
    listed = tmp_path / "executed.txt"
    done = retrieve(tmp_path, "a red star", spy=True, env={"EXECUTED": str(listed)})
    assert done.returncode == 0, done.stderr
    fitting = sum(world.is_true("a red star", world.make_scene("test", i)) for i in range(5))
    assert f"5 nearest of 5 pictures · {fitting} of 5 fit, {fitting} among these 5" in done.stdout
    own = {ROOT / "retrieve.py", *map(Path, listed.read_text(encoding="utf-8").split("\n"))}
    own = {path for path in own if ROOT in path.parents and "site-packages" not in path.parts}
    names = {path.relative_to(ROOT).as_posix() for path in own}
    assert {"retrieve.py", "answering/search.py", "data/scenes/world.py"} <= names
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in own)
    code = [name for name in names if not name.endswith("__init__.py")]  # those are one line each
    assert len(code) <= 22 and lines <= 5000, (lines, sorted(names))
    idle = ("systems/", "training/", "grading/", "data/vision/", "data/formats/", "data/pairs/")
    assert not [n for n in names if n.startswith((*idle, "settings/training", "metrics"))]
    assert not names & {
        f"answering/{name}.py" for name in ("explain", "pictures", "writing", "spelling")
    }
    assert (tmp_path / "exp" / "scenes" / "answer.png").is_file()


def test_a_run_of_order_similarity_is_asked_by_it(root):
    run = os.path.join("exp", "order")
    done = retrieve(root, "--exp", "order", "--k", "3", "red", "square")
    # Each of the two words weighs 1/sqrt(2) = 0.71; "red" weighs 0.41 where six words stand.
    assert done.stdout.splitlines()[1:6] == [
        f"3 nearest of 5 pictures · {run} · order similarity",
        "rank    score  image             caption",
        "   1   0.0000  folder/three.png  red square",
        "   2  -0.5000  one.png           red circle",
        "   3  -0.5893  four.png          red above blue",
    ]
    # The other way the caption stays first: it may say less than the picture, not more.
    done = retrieve(root, "--exp", "order", "--json", "--k", "20", "--image", "four.png")
    answer = json.loads(done.stdout)
    gallery = stored.Gallery(Run(root / run))
    table = reference.scores(gallery.text.tolist(), gallery.image[3:4].tolist(), "order")
    scores = sorted((row[0] for row in table), reverse=True)
    assert answer["similarity"] == "order" and answer["answers"][0]["own"]
    np.testing.assert_allclose([each["score"] for each in answer["answers"]], scores, atol=1e-7)


def test_pictures_missing_and_damaged_do_not_break_the_answer(root):
    output = root / "new folder" / "out.PNG"
    args = ("--exp", "pictures", "--output", str(output), "red 😀 \x1b[2J $x$ مرحبا circle")
    done = retrieve(root, *args, env={"PYTHONIOENCODING": "ascii:strict"})
    assert done.returncode == 0 and done.stdout.isascii() and "\x1b" not in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and lines[0] == "not known to the model: 2j"
    assert "one.png does not exist" in lines[1] and "(and 1 more like this)" in lines[1]
    with Image.open(output) as drawn:
        drawn.load()
        assert drawn.height > 200


def test_a_misspelt_query_is_read_rightly_and_says_so(root):
    done = retrieve(root, "--exp", "plain", "--k", "1", "a red Squares")
    run = os.path.join("exp", "plain")
    assert done.stdout.splitlines()[:2] == [
        "a red Squares",
        f"1 nearest of 5 pictures · read as squares: square · {run}",
    ]
    assert "1.0000  folder/three.png" in done.stdout and done.stderr == ""
    done = retrieve(root, "--exp", "plain", "--json", "--k", "1", "red squrae not 2")
    answer = json.loads(done.stdout)
    assert answer["folded"] == {"squrae": "square"} and answer["unknown_words"] == ["not"]
    assert answer["remarks"] == done.stderr.splitlines()[:2] and '"2"' in answer["remarks"][0]
    assert answer["fitting"] is None and answer["answers"][0]["fits"] is None
    done = retrieve(root, "--exp", "plain", "--nospelling", "--explain", "red squrae")
    assert "not known to the model: squrae" in done.stderr and "read as" not in done.stdout
    done = retrieve(root, "--exp", "plain", "--explain", "red squrae")
    assert "  square  -0.2929" in done.stdout


def test_queries_of_several_parts(root):
    args = ("--exp", "plain", "--json", "--k", "5")
    both = ("--minus", "circle", "--minus", "star", "--like", "one.png", "--minus_weight", "1")
    done = retrieve(root, *args, "red", *both)
    answer = json.loads(done.stdout)
    assert answer["query"] == "red + like one.png - circle - star"
    assert answer["answers"][0]["name"] == "folder/three.png" and done.stderr == ""
    done = retrieve(root, *args, "--minus", "circle", input="red\ncircle\n", text=True)
    assert len(done.stdout.splitlines()) == 2
    done = retrieve(root, *args, "--like", "two.png", "--plus", "blue")
    assert json.loads(done.stdout)["answers"][0]["name"] == "two.png"


def test_json_is_all_that_stands_on_standard_output(root):
    done = retrieve(root, "--exp", "pictures", "--json", "--k", "2", "red circle zebra", spy=True)
    answer = json.loads(done.stdout)
    assert answer["query"] == "red circle zebra" and answer["unknown_words"] == ["zebra"]
    assert answer["gallery"] == {"images": 5, "captions": 10}
    first = answer["answers"][0]
    assert {key: first[key] for key in ("rank", "image", "name", "picture")} == {
        "rank": 1,
        "image": 0,
        "name": "one.png",
        "picture": "one.png",
    }
    assert first["score"] == pytest.approx(1, abs=1e-6)
    assert first["caption"] == "red circle \x1b[31m\ud800 $x$ 😀"
    assert [answer["rank"] for answer in answer["answers"]] == [1, 2]
    assert done.stderr.splitlines() == ["not known to the model: zebra", "imported: []"]
    assert not (root / "exp" / "pictures" / "answer.png").exists()


def test_queries_are_read_line_by_line(root):
    lines = [b"red square", b"", b"zebra", b"blue star \xff\xd8 \xf0\x9f\x98\x80", b"red " * 10_000]
    done = retrieve(
        root,
        *("--exp", "plain", "--json", "--k", "1"),
        input=b"\r\n".join(lines),
        encoding=None,
        errors=None,
    )
    answers = [json.loads(line) for line in done.stdout.decode("ascii").splitlines()]
    names = [answer["answers"][0]["name"] for answer in answers]
    assert names == ["folder/three.png", "two.png", "one.png"]
    assert done.stderr.decode().splitlines() == [
        "the query is empty: write what the picture should show",
        "the model knows no word of the query (zebra)",
    ]
    assert done.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_is_asked(root):
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "retrieve.py"), "--exp", "plain", "--k", "1"]
    env = {**os.environ, "TERM": "dumb"}
    with subprocess.Popen(
        command, cwd=root, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        deadline = threading.Timer(60, process.kill)  # that nothing waits for ever
        deadline.start()
        shown, typed = b"", [b"zebra\n", b"red square\n", b"\x04"]
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while piece := os.read(ours, 4096):
                shown += piece
                if typed and shown.count(b"query: ") > 3 - len(typed):
                    os.write(ours, typed.pop(0))
        deadline.cancel()
    os.close(ours)
    assert process.returncode == 0 and typed == []
    assert b"knows no word of the query (zebra)" in shown
    assert b"folder/three.png" in shown and b"answer.png" in shown


@pytest.mark.parametrize("given", ["4", "3", os.path.join(".", "3")])
def test_captions_for_an_image_by_name_or_number(root, given):
    """The name of image 4 is 3: a name goes before a number; a file's name will do."""
    done = retrieve(root, "--exp", "plain", "--image", given, "--k", "3")
    lines = done.stdout.splitlines()
    assert lines[0] == "3" and "3 nearest of 10 captions" in lines[1]
    assert lines[3].split() == ["1*", "1.0000", "3", "blue", "circle"]
    assert [line[4] for line in lines[3:6]] == ["*", "*", " "]
    assert lines[6] == "* written for this picture"
    assert done.stderr == "" and (root / "exp" / "plain" / "answer.png").is_file()


def test_captions_for_a_picture_file(root):
    args = ("--exp", "pictures", "--json", "--output", "out.png", "--image")
    answers = []
    for given in (os.path.join(".", "two.png"), os.path.join("data", "two.png")):
        done = retrieve(root, *args, given, spy=True)
        answers.append(json.loads(done.stdout))
        assert done.stderr.splitlines()[0] == "picture: out.png"
        assert done.stderr.splitlines()[1] in ("imported: []", "imported: ['scipy']")
        assert done.returncode == 0
    foreign, own = answers
    assert foreign["image"] == own["image"] == "two.png"
    assert not any(answer["own"] for answer in foreign["answers"])
    assert [answer["name"] for answer in own["answers"] if answer["own"]] == ["two.png"]
    folder = root / "exp" / "pictures"
    descriptor = descriptors.load_descriptor(folder / "features.npz")
    with Image.open(root / "two.png") as picture:
        vector = descriptor.describe([picture]).astype(np.float32)
    query = onnx_graphs.Tower(folder / "image.onnx")(vector)
    scores, rows = nearest.top_k(query, stored.Gallery(Run(folder)).text, 10)
    np.testing.assert_allclose([a["score"] for a in foreign["answers"]], scores[0], atol=1e-7)
    captions = [caption for own in CAPTIONS for caption in own]
    assert len(rows[0]) == len(captions) == len(foreign["answers"])


def test_the_best_answer_is_explained(root):
    args = ("--exp", "plain", "--k", "1", "--explain")
    done = retrieve(root, *args, "a Red zebra, Square", spy=True)
    run = os.path.join("exp", "plain")
    # The picture shows both words at a cosine of 1; each alone is at 1 / sqrt(2) from it.
    assert done.stdout.splitlines()[3:] == [
        "   1   1.0000  folder/three.png  red square",
        "why folder/three.png: 1.0000 changes without a word by",
        "  Red     -0.2929  ------------------------------",
        "  zebra   unknown",
        "  Square  -0.2929  ------------------------------",
        "below 0: that word or place supports the match",
        f"picture: {os.path.join(run, 'explanation.png')}",
    ]
    assert done.stderr.splitlines() == [
        f"the words are explained, the picture is not: {run} cannot describe new pictures: its "
        "data came as ready vectors",
        "not known to the model: zebra",
        "imported: []",
    ]
    with Image.open(root / run / "explanation.png") as drawn:
        drawn.load()
        assert drawn.width > 600


def test_places_of_the_picture_are_explained_both_ways(root):
    args = ("--exp", "pictures", "--json", "--explain", "--explain_grid", "3", "--output", "e.png")
    done = retrieve(root, *args, "Blue star, red circle above", spy=True)
    answer = json.loads(done.stdout)
    found = answer["explanation"]
    assert [found["image"], found["sentence"]] == ["four.png", "Blue star, red circle above"]
    assert found["score"] == pytest.approx(answer["answers"][0]["score"], abs=1e-6)
    assert np.shape(found["places"]) == (3, 3) and np.any(found["places"])
    assert [word["word"] for word in found["words"]] == ["Blue", "star", "red", "circle", "above"]
    assert done.stderr.splitlines()[:2] == [
        "the model ignores the order of words: it cannot tell what is above what",
        "picture: e.png",
    ]
    assert not {"tensorflow", "keras", "matplotlib.pyplot"} & set(done.stderr.split("'"))
    with Image.open(root / "e.png") as drawn:
        assert drawn.width > 1000  # with the map beside the picture
    done = retrieve(root, *args[:4], "--image", "four.png")
    told = json.loads(done.stdout)
    assert told["explanation"]["sentence"] == told["answers"][0]["caption"]
    assert told["explanation"]["score"] == pytest.approx(told["answers"][0]["score"], abs=1e-6)
    assert np.shape(told["explanation"]["places"]) == (7, 7)
    done = retrieve(root, *args[:4], "--image", os.path.join(".", "two.png"))
    assert "explanation" not in json.loads(done.stdout)
    assert "the best caption is not explained: the query has no word" in done.stderr


def test_a_picture_that_is_missing_or_not_described_leaves_the_words(root):
    done = retrieve(root, "--exp", "pictures", "--explain", "--k", "1", "red circle")
    assert "one.png does not exist" in done.stderr and "  circle  -0.2929" in done.stdout
    assert "grey patch" not in done.stdout
    lines = b"zebra\nblue star\n"
    done = retrieve(root, "--exp", "order", "--explain", input=lines, encoding=None, errors=None)
    assert b"knows no word of the query (zebra)" in done.stderr
    assert b"why two.png: 0.0000 changes without a word by\n  blue  -0.0858" in done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--exp", "nosuch", "red"], "unknown experiment 'nosuch'; the runs in exp/ are: "),
        (["--exp", "plain", ""], "the query is empty"),
        (["--exp", "plain", "zebra", "giraffe"], "knows no word of the query (zebra, giraffe)"),
        (["--exp", "plain", "--image", "1", "red"], "a sentence or --image, not both"),
        (["--exp", "plain", "--uri", "x.db", "red"], "give --engine milvus, too"),
        (["--exp", "plain", "--engine", "milvus", "--exact", "red"], "leave --engine out"),
        (["--exp", "order", "--engine", "milvus", "red"], "--engine is for cosine"),
        (["--exp", "plain", "--pictures", ".", "--exact", "red"], "leave --engine and --exact out"),
        (["--exp", "plain", "--image", "1", "--minus", "red"], "give --like instead of --image"),
        (["--exp", "plain", "--explain", "--plus", "red", "a"], "leave --plus out"),
        (["--exp", "order", "--plus", "red", "blue"], "ask with one sentence, without --plus"),
        (["--exp", "plain", "--minus", "red", "--minus_weight=1", "red"], "cancel out"),
        (["--exp", "plain", "--minus", "red", "--minus_weight=nan", "red"], "a finite number"),
        (["--exp", "plain", "--image", "nosuch.png"], "5 images are called one.png, two.png, fol"),
        (["--exp", "plain", "--image", "5"], "or go by number from 0"),
        (["--exp", "plain", "--image", "foreign.png"], "its data came as ready vectors"),
        (["--exp", "pictures", "--image", "broken.png"], "is damaged or no picture"),
        (["--exp", "plain", "--output", "answer.pdf", "red"], "answer.pdf must end in .png"),
        (["--exp", "plain", "--image", "3", "--explain", "red"], "a sentence or --image, not both"),
    ],
)
def test_mistakes_end_in_one_line(root, args, message):
    done = retrieve(root, *args)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("retrieve.py: error: ") and message in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the viewer has another name")
def test_show_opens_the_viewer(root):
    folder = root / "bin"
    folder.mkdir()
    viewer = folder / "xdg-open"
    viewer.write_text('#!/bin/sh\necho "$1" > seen.part && mv seen.part seen\n')
    viewer.chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    done = retrieve(root, "--exp", "plain", "--show", "--k", "1", "red", env={"PATH": path})
    assert done.returncode == 0 and done.stderr == ""
    for _ in range(1000):
        if (root / "seen").exists():
            break
        subprocess.run(["sleep", "0.01"], check=True)
    assert (root / "seen").read_text().strip() == os.path.join("exp", "plain", "answer.png")
    done = retrieve(root, "--exp", "plain", "--show", "red", env={"PATH": "/nowhere"})
    assert done.returncode == 0 and "viewer did not start" in done.stderr


def test_an_own_folder_of_pictures_is_asked(root, tmp_path):
    photos = tmp_path / "photos"
    for name in ("below/two.png", "three.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes((root / "data" / "four.png").read_bytes())
    (photos / "broken \n\x1b[31m.jpg").write_bytes(b"no picture")
    args = ("--exp", "pictures", "--pictures", str(photos), "--output", str(tmp_path / "a.png"))
    done = retrieve(root, *args, "red circle", spy=True)
    run = os.path.join("exp", "pictures")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "red circle",
        f"2 nearest of 2 pictures · {run}",
        "rank    score  image",
    ]
    assert [line.split()[0::2] for line in lines[3:5]] == [
        ["1", "below/two.png"],
        ["2", "three.png"],
    ]
    told = done.stderr.splitlines()
    assert told[0].startswith("described 3 pictures in ")
    assert told[1].startswith("1 picture cannot be read: broken [31m.jpg (")
    assert told[2] == (f"answers are not judged: {run} has no fit.json: python test.py writes it")
    assert not {"tensorflow", "keras"} & set(told[-1].split("'"))
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.width > 500
    done = retrieve(root, *args, "--json", input=b"blue\nzebra\nred\n", encoding=None, errors=None)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["query"] for answer in answers] == ["blue", "red"]
    first = answers[0]["answers"][0]
    assert first["picture"] == str(photos.resolve() / first["name"]) and first["weak"] is None
    assert b"described" not in done.stderr and b"1 picture cannot be read" in done.stderr
    done = retrieve(root, *args, "--json", "--image", str(photos / "three.png"))
    answer = json.loads(done.stdout)
    assert [one["name"] for one in answer["answers"]] == ["below/two.png"]
    assert answer["answers"][0]["score"] == pytest.approx(1, abs=1e-6)
    done = retrieve(root, *args, "--json", "--explain", "red circle")
    assert np.shape(json.loads(done.stdout)["explanation"]["places"]) == (7, 7)
    assert sorted(path.name for path in photos.rglob("*.png")) == ["three.png", "two.png"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--exp", "plain", "--pictures", "data", "red"], "its data came as ready vectors"),
        (["--exp", "pictures", "--index", "i", "red"], "--index is of your own pictures: give"),
        (["--exp", "pictures", "--pictures", "nosuch", "red"], "nosuch does not exist"),
        (["--exp", "pictures", "--pictures", "bin/none", "red"], "bin/none does not exist"),
        (
            ["--exp", "pictures", "--pictures", "data", "--index", "data/i", "red"],
            "lies in the folder of pictures",
        ),
        (["--exp", "pictures", "--pictures", "data", "--caption", "red"], "captions all pictures"),
        (
            ["--exp", "pictures", "--pictures", "data", "--explain", "--image", "0"],
            "explains a sentence: leave --image out",
        ),
        (["--exp", "pictures", "--pictures", "data", "--caption"], "has no writer_first.onnx"),
    ],
)
def test_mistakes_with_own_pictures_end_in_one_line(root, args, message):
    test_mistakes_end_in_one_line(root, args, message)

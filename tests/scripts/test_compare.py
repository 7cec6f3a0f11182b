"""compare.py: the table of runs, seeds, pairs, other inputs, files, and what it refuses."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser

import browser
import numpy as np
import pytest
import starter
from PIL import Image
from scored_runs import OWNER, embed, leave

from lab.settings import settings_of
from run import files
from run.folder import Run
from settings.training import Facts
from systems import config


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("compare")
    leave(Run(home / "exp/good"), 0.3, "--loss=simclr", "--epochs=4", "--init_from=exp/good-first")
    leave(Run(home / "exp/bad"), 1.5, "--loss=modified")
    leave(Run(home / "exp/other"), 0.3, "--loss=modified", data="b")
    config.save(Run(home / "exp/begun"), settings_of(), Facts())
    config.save(Run(home / "exp/good-first"), settings_of(), Facts())
    for seed in range(3):
        leave(Run(home / f"seeds/one_{seed}"), 0.3, "--loss=simclr", seed=seed)
        leave(Run(home / f"seeds/two_{seed}"), 1.5, "--loss=simclr", "--epochs=9", seed=seed)
    bare = home / "theirs"
    bare.mkdir()
    for name in ("score.json", "ranks_text_to_image.csv", "ranks_image_to_text.csv"):
        shutil.copy(home / "exp/bad" / name, bare)
    image, text = embed(0.3, 0)
    files.write_arrays(home / "file.npz", {"image": image, "text": text, "caption_image": OWNER})
    few = {"image": image[:20], "text": text[:40], "caption_image": OWNER[:40]}
    files.write_arrays(home / "few.npz", few)
    return home


def compare(home, *words):
    return starter.run("compare.py", *words, cwd=home)


def test_all_runs_are_listed_by_data_the_best_first(home):
    done = compare(home)
    assert done.returncode == 0
    first, second = done.stdout.strip().split("\n\ncsv, test, 30 images (fingerprint b)\n\n")
    assert first.startswith("csv, test, 30 images (fingerprint a)")
    names = [line.split()[0] for line in first.splitlines()[2:]]
    assert names == ["run", "good", "bad"] and second.splitlines()[1].split()[0] == "other"
    good = first.splitlines()[3]
    assert "simclr" in good and "--epochs=4" in good and " 3  " in good and " 1.0  " in good
    assert "left out: begun:" in done.stderr and "has no score.json" in done.stderr
    assert "good-first" not in done.stderr  # it led to good


def test_two_runs_are_tested_query_by_query(home):
    done = compare(home, "bad", "good")
    assert done.returncode == 0
    assert "good is ahead of bad: -" in done.stdout and "image to text  recall@1" in done.stdout
    again = compare(home, "good", "exp/good", "bad")  # one run twice is one run
    assert again.stdout.count(" is ahead of ") == 1


def test_seeds_of_one_setting_are_put_together(home):
    done = compare(home, "--exp_root=seeds", "*")
    assert "one_* (3 seeds)" in done.stdout and "0 1 2" in done.stdout
    assert "one_* (3 seeds) is ahead of two_* (3 seeds): +" in done.stdout
    alone = compare(home, "--exp_root=seeds", "--noseeds")
    assert len(re.findall(r"^(one|two)_\d ", alone.stdout, re.MULTILINE)) == 6


def test_results_alone_and_embeddings_stand_beside_runs(home):
    done = compare(home, "bad", "theirs", "file.npz")
    assert done.returncode == 0, done.stderr
    assert "file.npz names no images: its rows are taken in the order of bad" in done.stderr
    assert "bad and theirs cannot be told apart" in done.stdout
    assert "file.npz is ahead of theirs" in done.stdout
    # The same rows give the run's own ranks: not one query differs.
    same = compare(home, "file.npz", "good", "--queries")
    assert re.search(r"rsum +\+0 +\+0 to \+0 +1\n", same.stdout), same.stderr


def test_tables_for_texts_and_programs(home):
    asked = ("good", "bad", "--queries", "--examples=50", "--curves=curves.png")
    for suffix in ("md", "csv", "json", "tex"):
        done = compare(home, *asked, f"--output=found.{suffix}")
        assert done.returncode == 0, done.stderr
    found = json.loads((home / "found.json").read_text())
    assert [row["run"] for row in found["runs"]] == ["good", "bad"]
    rsum = found["differences"][0]
    assert rsum["metric"] == "rsum" and rsum["low"] < rsum["difference"] < rsum["high"]
    with open(home / "found.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13 and rows[0]["first"] == "good"
    assert float(rows[0]["difference"]) == rsum["difference"]
    assert "good answers, bad does not" in (home / "found.md").read_text()
    assert r"\textless{}script\textgreater{}" in (home / "found.tex").read_text()
    assert (home / "curves.png").read_bytes()[:4] == b"\x89PNG"
    listed = compare(home, "--output=found.csv", "--filter=loss=simclr")
    with open(home / "found.csv", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["good"], listed.stderr


class Page(HTMLParser):
    """Tags with their attributes, and those that are open."""

    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_asks_for_nothing_and_runs_nothing(home):
    done = compare(home, "good", "bad", "--output=report.html", "--examples=50")
    assert done.returncode == 0, done.stderr
    text, page = (home / "report.html").read_text(encoding="utf-8"), Page()
    page.feed(text)
    assert not page.open and "&lt;script&gt;alert(1)" in text and "\u202e" not in text
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(names)
    assert names.count("h1") == 1 and names.count("table") == names.count("caption") > 4
    for tag, own in page.tags:
        assert not [name for name in own if name.startswith("on") or name in ("href", "style")]
        assert own.get("src", "data:").startswith("data:") and (tag != "img" or own["alt"])
        assert tag != "th" or own["scope"] in ("row", "col")
    assert dict(page.tags)["html"] == {"lang": "en"} and not re.search("https?:|url\\(", text)
    assert ("img", "data:image/png") in [(tag, own.get("src", "")[:14]) for tag, own in page.tags]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["good", "other"], "these runs are of different data"),
        (["good", "few.npz"], "these runs are of different data"),
        (["good", "none"], "unknown experiment 'none'; the runs in exp/ are: "),
        (["x*"], "no run in exp/ is called like 'x*'"),
        (["--by=x"], "has no x: choose one of rsum, mrr"),
        (["good", "bad", "--by=median_rank"], "no mean over queries"),
        (["--filter=loss"], "expected name=value"),
        (["--filter=losses=x"], "no run has a setting of that name"),
        (["--filter=loss=sigmoid"], "loss=sigmoid: no run has it; theirs are simclr, modified"),
        (["--exp_root=none"], "no scored run in none/: python train.py, python test.py"),
        (["--output=table.txt"], "expected a file that ends in .md, .csv"),
        (["file.npz", "--curves=x.png"], "none of these is a run"),
    ],
)
def test_what_it_refuses_in_one_line(home, words, says):
    done = compare(home, *words)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


def test_a_named_run_without_a_score_is_told_by_the_status(home):
    done = compare(home, "good", "begun")
    assert done.returncode == 1 and "left out: begun" in done.stderr


@pytest.mark.parametrize(
    ("rsum", "says"),
    [
        ({"value": 1.0}, "has rsum 1.0, ranks_*.csv beside it give"),
        ({"value": "x"}, "value is 'x'; expected float"),
        ([], "rsum is []; expected dict"),
    ],
)
def test_results_that_disagree_are_left_out(home, tmp_path, rsum, says):
    shutil.copytree(home / "theirs", tmp_path / "edited")
    score = json.loads((tmp_path / "edited/score.json").read_text())
    (tmp_path / "edited/score.json").write_text(json.dumps(score | {"rsum": rsum}))
    done = compare(home, "good", tmp_path / "edited")
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


@browser.needed
@pytest.mark.timeout(300)
def test_the_page_in_a_browser(home, tmp_path):
    """It asks for nothing, runs nothing, fits a phone's width, and prints."""
    compare(home, "good", "bad", "--output=report.html", "--examples=50")
    page = home / "report.html"
    told, asked = browser.browse(page, tmp_path, "--dump-dom")
    assert "is ahead of" in told and "&lt;script&gt;" in told and "<script" not in told
    assert not asked
    shot, paper = tmp_path / "phone.png", tmp_path / "page.pdf"
    browser.browse(page, tmp_path, f"--screenshot={shot}", width=390, height=3000)
    with Image.open(shot) as picture:
        assert picture.size == (390, 3000)
        ink = np.asarray(picture.convert("L")) < 128
    assert ink.any(axis=1).sum() > 300  # rows of letters
    assert not ink[:, -4:].any()  # nothing is cut off at the right
    browser.browse(page, tmp_path, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    assert paper.read_bytes().startswith(b"%PDF") and paper.stat().st_size > 10_000

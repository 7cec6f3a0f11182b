"""Written captions graded, and the whole of System 5 on tiny box files by the scripts."""

import base64
import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
import starter

from data.scenes import world
from grading import caption_grades, caption_metrics


def tiny():
    """Two images of two captions each, and what was written for them."""
    split = SimpleNamespace(
        origin="data",
        image_names=["a.jpg", "b.jpg"],
        captions=["a dog runs on grass", "a brown dog", "two cats sit in a box", "cats"],
        caption_image=np.array([0, 0, 1, 1]),
    )
    written = {
        "beam 1": [["a dog runs on sand"], ["two cats"]],
        "beam 5": [["a dog runs on grass", "x"], []],  # the second image got none
    }
    return split, written


def test_the_best_caption_of_each_image_is_graded():
    split, written = tiny()
    known = [split.captions[:2], split.captions[2:]]
    scores = caption_grades.grade(written, split)
    best = {"beam 1": ["a dog runs on sand", "two cats"], "beam 5": ["a dog runs on grass", ""]}
    for title, texts in best.items():
        assert scores[title]["bleu4"] == pytest.approx(caption_metrics.bleu4(texts, known))
        assert scores[title]["cider"] == pytest.approx(caption_metrics.cider(texts, known))


def test_captions_of_scenes_are_judged_by_what_is_in_the_picture():
    drawn = [world.make_scene("test", number, 3) for number in (0, 1, 2, 3)]
    said = [world.write_sentences(scene, random.Random(1)) for scene in drawn]
    split = SimpleNamespace(
        name="test",
        origin="scenes:3",
        image_names=[f"test-0000{number}" for number in (0, 1, 2, 3)],
        captions=[caption.text for own in said for caption in own],
        caption_image=np.repeat(np.arange(4), 5),
    )
    colour = next(c for c in world.COLOURS if all(o.colour != c for o in drawn[1].objects))
    # True, false, no sentence, and one of a picture's own captions.
    best = [said[0][0].text, f"a {colour} shape", "a circle circle of", said[3][2].text]
    scores = caption_grades.grade({"beam 1": [[text] for text in best]}, split)
    assert scores["beam 1"]["true"] == 0.5
    assert scores[caption_grades.GRAMMAR]["true"] == 1
    assert 0 < scores[caption_grades.GRAMMAR]["bleu4"] < 1


def test_the_report_holds_captions_by_image(tmp_path):
    split, written = tiny()
    told = caption_grades.report(tmp_path / "captions.json", written, split, {"data": "coco"})
    stored = json.loads((tmp_path / "captions.json").read_text())
    assert stored["captions"]["a.jpg"]["beam 5"] == ["a dog runs on grass", "x"]
    assert stored["scores"]["beam 1"]["bleu4"] >= 0 and stored["protocol"] == {"data": "coco"}
    assert told.splitlines()[1].startswith("written captions, beam 5: BLEU-4 0.")


def put_data(folder):
    """COCO captions and a TSV of boxes that say what the captions do."""
    rng, images, entries, lines = np.random.default_rng(0), [], [], []
    colours, things = ("brown", "white", "red"), ("dog", "cat", "car")
    for image in range(60):
        colour, thing = image % 3, image // 3 % 3
        said = f"{colours[colour]} {things[thing]}"
        name = f"COCO_val2017_{image:012d}.jpg"
        images.append({"id": image, "file_name": name})
        texts = (f"a {said}", f"there is a {said} here", f"one {said} .")
        entries += [{"id": 0, "image_id": image, "caption": text} for text in texts]
        boxes = rng.normal(scale=0.1, size=(4, 8)).astype("<f4")
        boxes[0, colour] += 2
        boxes[1, 3 + thing] += 2
        places, numbers = (base64.b64encode(x.tobytes()).decode() for x in (boxes[:, :4], boxes))
        lines.append(f"{image}\t640\t480\t4\t{places}\t{numbers}\n")
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": entries}))
    (folder / "boxes.tsv").write_text("".join(lines))


def test_joint_on_box_files_without_held_out_pairs(tmp_path):
    put_data(tmp_path)

    def script(name, *flags):
        done = starter.run(name, *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    sizes = [f"--{name}=8" for name in ("embed_dim", "hidden_dim", "attention_dim", "word_dim")]
    script(
        "train.py", "--model=joint", "--data=coco", "--data_dir=captions.json", "--exp=j",
        "--features=bottom_up", "--features_file=boxes.tsv", "--heldout=brown_dog,red_cat",
        "--epochs=1", "--batch_size=32", "--max_length=5", *sizes,
    )  # fmt: skip
    told = script("test.py")
    for said in ("beam 5: BLEU-4", "Ranking recall@5:", "Written captions, beam 1:"):
        assert said in told
    run = tmp_path / "exp" / "j"
    stored = json.loads((run / "pairs.json").read_text())
    assert set(stored) == {
        "protocol", "ranking recall@5", "written captions, beam 1", "written captions, beam 5",
    }  # fmt: skip
    assert stored["protocol"]["heldout"] == "brown_dog,red_cat"
    captions = json.loads((run / "captions.json").read_text())["captions"]
    score = json.loads((run / "score.json").read_text())
    assert len(captions) == score["protocol"]["images"] > 3
    assert {len(own["beam 1"]) for own in captions.values()} == {1}
    assert max(len(own["beam 5"]) for own in captions.values()) == 5

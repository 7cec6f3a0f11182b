"""score.json: its groups, folds, tables and verification."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import reference_metrics as reference
from conftest import ROOT

import metrics
from grading import chance
from grading.score import grade_embeddings, protocol, read_embeddings, score_table, write_ranks
from run import files
from settings.training import SELECT


def random_rows(seed=0, images=12):
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), rng.integers(1, 4, images))
    image = rng.standard_normal((images, 6))
    text = image[owner] + rng.standard_normal((len(owner), 6))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (image, text)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32), owner


def test_every_metric_has_its_place():
    image, text, owner = random_rows()
    found = metrics.evaluate(image, text, owner)
    expected = chance.chance(len(image), owner)
    for queries in (*found.values(), *expected.values()):
        assert {*queries.values(), "median_rank"} == set(metrics.METRICS)
    assert metrics.summarise([1, 2]).keys() <= set(metrics.METRICS)
    assert set(SELECT) <= {"rsum", "image_to_text_rsum", "loss", "bleu4", *metrics.METRICS}


def test_folds_are_the_mean_of_disjoint_galleries():
    image, text, owner = random_rows()
    score, found = grade_embeddings(image, text, owner, folds=3)
    single = []
    for start in (0, 4, 8):
        rows = (owner >= start) & (owner < start + 4)
        part, _ = grade_embeddings(image[start : start + 4], text[rows], owner[rows] - start)
        single.append(part["text_to_image"]["mrr"]["value"])
    assert score["text_to_image"]["mrr"]["value"] == pytest.approx(np.mean(single))
    assert found[0]["text_to_image"].gallery_size == 4
    with pytest.raises(ValueError, match="cannot be cut into 5 folds"):
        grade_embeddings(image, text, owner, folds=5)


def test_the_oracle_stands_beside_the_score():
    image, text, owner = random_rows()
    fits = owner[:, None] == np.arange(len(image))  # every caption fits its own image only
    score, found = grade_embeddings(image, text, owner, fits=fits)
    assert score["oracle"]["mrr"]["value"] == 1 and score["oracle_rsum"]["value"] == 600
    facts = protocol(found, len(image), False, data="x")
    told = score_table({"protocol": facts, **score})
    assert "oracle 600.0\nthe oracle knows which images fit" in told and "chance" in told
    assert f"{len(text)} queries, gallery of {len(image)}" in told


def test_ranks_are_written_query_by_query(tmp_path):
    image, text, owner = random_rows()
    captions = [f'caption {i}, "quoted"' for i in range(len(text))]
    names = [f"image{i}" for i in range(len(image))]
    for folds in (1, 3):
        _, found = grade_embeddings(image, text, owner, folds=folds)
        write_ranks(tmp_path, found, captions, names)
        with open(tmp_path / "ranks_text_to_image.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["caption"] for row in rows] == captions
        assert [row["image"] for row in rows] == [names[i] for i in owner]
        ranks = np.concatenate([fold["text_to_image"].ranks for fold in found])
        assert [int(row["rank"]) for row in rows] == ranks.tolist()
        with open(tmp_path / "ranks_image_to_text.csv", encoding="utf-8") as file:
            assert [row["image"] for row in csv.DictReader(file)] == names


def test_order_similarity_is_graded_and_told():
    image, text, owner = random_rows()
    score, found = grade_embeddings(image, text, owner, similarity="order")
    ranks = reference.text_to_image_ranks(image.tolist(), text.tolist(), owner.tolist(), "order")
    assert found[0]["text_to_image"].ranks.tolist() == ranks
    score["protocol"] = protocol(found, len(image), False, "order")
    assert score["protocol"]["similarity"] == "order"
    assert "order similarities" in score["protocol"]["ranks"]
    assert f"gallery of {len(image)}, order similarity" in score_table(score)


def test_cosine_is_graded_and_told_as_ever():
    image, text, owner = random_rows()
    score, found = grade_embeddings(image, text, owner)
    assert grade_embeddings(image, text, owner, similarity="cosine")[0] == score
    facts = protocol(found, len(image), False, data="x")
    assert facts["similarity"] == "cosine" and "float64 dot products" in facts["ranks"]
    told = score_table({"protocol": facts, **score})
    assert "similarity" not in told and "oracle" not in told


def test_foreign_embeddings_by_order_similarity(tmp_path):
    image, text, owner = random_rows()
    arrays = {"image": image, "text": text, "caption_image": owner}
    np.savez(tmp_path / "silent.npz", **arrays)
    np.savez(tmp_path / "order.npz", **arrays, similarity="order")
    runs = (["silent.npz"], ["silent.npz", "--similarity", "order"], ["order.npz"])
    scores = []
    for arguments in runs:
        command = [sys.executable, str(ROOT / "test.py"), "--output", "score.json"]
        done = subprocess.run(
            [*command, "--embeddings", *arguments], cwd=tmp_path, capture_output=True, check=True
        )
        assert (b"order similarity" in done.stdout) == (len(scores) > 0)
        scores.append(files.read_json(tmp_path / "score.json"))
    cosine, chosen, told = [{**score, "hashes": None} for score in scores]
    assert chosen == told and chosen["rsum"] != cosine["rsum"]
    expected, _ = grade_embeddings(image, text, owner, similarity="order")
    assert {name: chosen[name] for name in expected} == expected
    command = [sys.executable, str(ROOT / "test.py"), "--similarity", "order"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1 and b"--similarity is for --embeddings" in done.stderr


def test_foreign_embeddings_are_checked(tmp_path):
    image, text, owner = random_rows()
    np.savez(tmp_path / "a.npz", image=3 * image, text=text, caption_image=owner)
    arrays = read_embeddings(tmp_path / "a.npz", normalize=True)
    np.testing.assert_allclose(np.linalg.norm(arrays["image"], axis=1), 1)
    np.savez(tmp_path / "b.npz", image=image[0], text=text, caption_image=owner)
    with pytest.raises(ValueError, match="image has shape"):
        read_embeddings(tmp_path / "b.npz")
    image[2] = 0
    np.savez(tmp_path / "c.npz", image=image, text=text, caption_image=owner)
    with pytest.raises(ValueError, match="row 2 is all zeros"):
        read_embeddings(tmp_path / "c.npz", normalize=True)

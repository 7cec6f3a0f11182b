"""score.json: its groups, folds, tables and verification."""

import csv

import numpy as np
import pytest

import experiment
import grading


def random_rows(seed=0, images=12):
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), rng.integers(1, 4, images))
    image = rng.standard_normal((images, 6))
    text = image[owner] + rng.standard_normal((len(owner), 6))
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (image, text)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32), owner


def test_folds_are_the_mean_of_disjoint_galleries():
    image, text, owner = random_rows()
    score, found = grading.grade(image, text, owner, folds=3)
    single = []
    for start in (0, 4, 8):
        rows = (owner >= start) & (owner < start + 4)
        part, _ = grading.grade(image[start : start + 4], text[rows], owner[rows] - start)
        single.append(part["text_to_image"]["mrr"]["value"])
    assert score["text_to_image"]["mrr"]["value"] == pytest.approx(np.mean(single))
    assert found[0]["text_to_image"].gallery_size == 4
    with pytest.raises(ValueError, match="cannot be cut into 5 folds"):
        grading.grade(image, text, owner, folds=5)


def test_the_oracle_stands_beside_the_score():
    image, text, owner = random_rows()
    fits = owner[:, None] == np.arange(len(image))  # every caption fits its own image only
    score, found = grading.grade(image, text, owner, fits=fits)
    assert score["oracle"]["mrr"]["value"] == 1 and score["oracle_rsum"]["value"] == 600
    facts = grading.protocol(found, len(image), False, data="x")
    told = grading.table({"protocol": facts, **score})
    assert "oracle 600.0" in told and "chance" in told
    assert f"{len(text)} queries, gallery of {len(image)}" in told


def test_ranks_are_written_query_by_query(tmp_path):
    image, text, owner = random_rows()
    captions = [f'caption {i}, "quoted"' for i in range(len(text))]
    names = [f"image{i}" for i in range(len(image))]
    for folds in (1, 3):
        _, found = grading.grade(image, text, owner, folds=folds)
        grading.write_ranks(tmp_path, found, captions, names)
        with open(tmp_path / "ranks_text_to_image.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["caption"] for row in rows] == captions
        assert [row["image"] for row in rows] == [names[i] for i in owner]
        ranks = np.concatenate([fold["text_to_image"].ranks for fold in found])
        assert [int(row["rank"]) for row in rows] == ranks.tolist()
        with open(tmp_path / "ranks_image_to_text.csv", encoding="utf-8") as file:
            assert [row["image"] for row in csv.DictReader(file)] == names


def test_verification_names_what_differs(tmp_path):
    image, text, owner = random_rows()
    run = experiment.Experiment(tmp_path)
    score, found = grading.grade(image, text, owner)
    score["protocol"] = grading.protocol(found, len(image), False)
    experiment.write_arrays(run.projections, {"image": image, "text": text, "caption_image": owner})
    experiment.write_json(run.score, score)
    assert grading.verify(run) == []
    score["chance"]["recall@5"]["low"] += 1
    experiment.write_json(run.score, score)
    (line,) = grading.verify(run)
    assert line.startswith("chance recall@5")
    experiment.write_json(run.score, [])
    with pytest.raises(ValueError, match="no protocol"):
        grading.verify(run)


def test_foreign_embeddings_are_checked(tmp_path):
    image, text, owner = random_rows()
    np.savez(tmp_path / "a.npz", image=3 * image, text=text, caption_image=owner)
    arrays = grading.read_embeddings(tmp_path / "a.npz", normalize=True)
    np.testing.assert_allclose(np.linalg.norm(arrays["image"], axis=1), 1)
    np.savez(tmp_path / "b.npz", image=image[0], text=text, caption_image=owner)
    with pytest.raises(ValueError, match="image has shape"):
        grading.read_embeddings(tmp_path / "b.npz")
    image[2] = 0
    np.savez(tmp_path / "c.npz", image=image, text=text, caption_image=owner)
    with pytest.raises(ValueError, match="row 2 is all zeros"):
        grading.read_embeddings(tmp_path / "c.npz", normalize=True)

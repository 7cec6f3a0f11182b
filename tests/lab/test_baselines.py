"""Linear baselines, against what their definitions give."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_data
from scipy import linalg, sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from lab.studies import __main__ as studies
from lab.studies import baselines, trials

WORDS = ("dog", "cat", "boat", "tree")


def part(images, words, per=2, seed=0):
    """A split in which words are a noisy linear map of the images."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(images, 12))
    mixing = np.random.default_rng(7).normal(size=(12, words))
    text = sparse.csr_matrix(np.repeat(image @ mixing, per, 0))
    text += sparse.csr_matrix(rng.normal(size=text.shape) * 0.3)
    owner = np.repeat(np.arange(images), per)
    mean = sparse.csr_matrix((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    return SimpleNamespace(
        image=image, text=baselines._unit(text), owner=owner,
        mean=baselines._unit(mean @ baselines._unit(text)), split=None,
    )  # fmt: skip


def test_canonical_pairs_solve_the_regularised_eigenproblem():
    train = part(200, 9)
    (first, read) = next(iter(baselines.fit_cca(train)))
    image = train.image - train.image.mean(0)
    text = train.mean.toarray() - train.mean.toarray().mean(0)
    count = len(image)
    a, b, c = image.T @ image / count, text.T @ text / count, image.T @ text / count
    a += first[0] * np.trace(a) / len(a) * np.eye(len(a))
    b += first[1] * np.trace(b) / len(b) * np.eye(len(b))
    # Hotelling: A^-1 C B^-1 C' w = rho^2 w.
    values = linalg.eigh(c @ np.linalg.solve(b, c.T), a, eigvals_only=True)[::-1]
    rows, _ = read(train, 9, 0)  # unweighted, so every pair counts alike
    assert rows.shape == (200, 9)
    weighted, _ = read(train, 9, 1)
    ratio = (weighted / rows) / (weighted / rows)[:, :1]  # rho_k / rho_1, whatever the norms
    np.testing.assert_allclose(ratio[0], np.sqrt(values[:9] / values[0]), rtol=1e-6)


def test_correlations_find_what_a_linear_map_has_mixed():
    data = {name: part(60, 20, seed=k) for k, name in enumerate(("train", "validation", "test"))}
    data["train"] = part(400, 20, seed=9)
    value, (image, text), chosen = baselines.cca(data, None, None)
    assert value > 450 and "pairs" in chosen
    assert baselines.rsum_of(image, text, data["test"]) > 450  # chance: 85


def test_a_neighbours_captions_are_the_images():
    train, test = part(30, 8), part(5, 8, seed=3)
    test.image = train.image[[4, 0, 9, 9, 20]] * 3.0  # the cosine knows no length
    _, (image, text), _ = baselines.nearest(
        {"train": train, "validation": test, "test": test}, None, None
    )
    np.testing.assert_allclose(image, train.mean.toarray()[[4, 0, 9, 9, 20]])
    np.testing.assert_allclose(text, test.text.toarray())


def test_ridge_is_the_least_squares_map_to_word_vectors(tmp_path):
    bag = TfidfVectorizer(analyzer=str.split).fit(["red dog", "blue cat"])
    words = list(bag.get_feature_names_out())
    vectors = np.random.default_rng(1).integers(-8, 9, (4, 3)) / 8  # exact in float32
    lines = [f"{w} {' '.join(map(str, v))}\n" for w, v in zip(words, vectors, strict=True)]
    path = tmp_path / "words.txt"
    path.write_text("".join(lines))
    train = part(50, 4)
    data = {"train": train, "validation": train, "test": train}
    _, (image, _), chosen = baselines.ridge(data, bag, path)
    strength = float(chosen.split()[1])
    centred = train.image - train.image.mean(0)
    target = train.mean @ vectors - (train.mean @ vectors).mean(0)
    gram = centred.T @ centred / 50
    gram += strength * np.trace(gram) / 12 * np.eye(12)
    expected = centred @ np.linalg.solve(gram, centred.T @ target / 50)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(image, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(40, 12), (12, 12), (12, 40)])
def test_the_spectrum_is_that_of_the_covariance(shape):
    """Of fewer rows than columns too, by the much smaller matrix of the rows."""
    rows = np.random.default_rng(3).normal(size=shape)
    rows -= rows.mean(axis=0)
    values, axes = baselines.spectrum(rows)
    np.testing.assert_allclose(axes.T @ axes, np.eye(len(values)), atol=1e-9)
    np.testing.assert_allclose(axes * values @ axes.T, rows.T @ rows / len(rows), atol=1e-12)
    assert len(values) == (shape[1] if shape[1] <= shape[0] else shape[0] - 1)
    assert baselines.spectrum(np.zeros(shape))[0].mean() == 0


def test_a_studys_table_ends_with_its_baselines(tmp_path, monkeypatch, capsys):
    tiny_data.precomp(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    studies.print_baselines([["--data=precomp", "--data_dir=data"]])
    assert "No baseline: all images, or all their captions, are alike" in capsys.readouterr().out
    for word, count in (("train", 4), ("dev", 2), ("test", 3)):
        captions = [f"a {w} {v}" for w, v in zip(WORDS[:count], WORDS[::-1], strict=False)]
        tiny_data.put(
            tmp_path / "data" / f"{word}_caps.txt", [c for c in captions for _ in "12345"]
        )
    studies.print_baselines([["--data=precomp", "--data_dir=data"]])
    told = capsys.readouterr().out
    assert "What every learned row must beat" in told and "| cca |" in told
    pixels = ["--model=dual_path", "--data=precomp", "--data_dir=data", "--features=pixels"]
    studies.print_baselines([pixels])
    assert capsys.readouterr().out.startswith("\nNo baseline: ")


def test_baselines_stand_on_the_images_of_the_runs():
    """Once for each kind of images, whatever else differs, and with the recipe's features."""
    on = ["--recipe=sh", "--data=flickr8k", "--data_dir=a"]
    runs = [[*on, f"--features={kind}", f"--seed={n}"] for n in (0, 1) for kind in ("last", "fne")]
    assert list(studies.on_each_kind(runs)) == runs[:2]
    assert len(studies.on_each_kind([on, [*on, "--data_dir=b"], [*on, "--crops=1"]])) == 3
    work = trials.Trials("nowhere", ["--recipe=sh"])
    with pytest.raises(ValueError, match="Unknown command line flag"):
        work.train("a", "--no_such_flag", seed=3)
    assert work.asked == [["--recipe=sh", "--no_such_flag", "--seed=3"]]


@pytest.mark.parametrize("name", ["losses", "finding", "recipes", "features", "stages"])
def test_studies_of_training_print_baselines(name):
    assert studies.STUDIES[name].baselines

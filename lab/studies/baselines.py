"""What every learned row must beat: three readers that need no gradient and no epoch.

  cca      regularised canonical correlations of image rows and bags of words
  ridge    image rows mapped to the mean word vector of their captions (--word_vectors)
  nearest  an image is said to be what the captions of the nearest training image say

A caption's bag of words weighs each word by its idf in the training captions, and has length 1.
Strengths are chosen by the validation rsum; the test split is scored once.

Shape letters: N images, M captions, F feature, V words, K canonical pairs, d numbers of a word.

References:
  Hotelling, Relations between two sets of variates, Biometrika 28, 1936.
  Hodosh, Young, Hockenmaier, Framing image description as a ranking task, JAIR 47, 2013, section 4
    (canonical correlations of pictures and bags of words).
"""

import itertools
from types import SimpleNamespace

import numpy as np
from scipy import linalg, sparse

import metrics
from data import datasets
from data.language.word_vectors import read_word_vectors
from data.language.words import bag_words
from data.vision import descriptors
from grading.score import grade_embeddings
from lab.settings import settings_of
from lab.studies.trials import GRADED, KEYS, SIDES, Report, Study
from systems import config

STRENGTHS = (0.1, 1.0, 10.0)  # of the regularisation, as a share of a column's mean variance
PAIRS = (64, 128, 256)  # K that are tried
POWERS = (1, 2, 4)  # of the correlations by which pairs are weighed


def read_split(split, descriptor, settings, bag):
    """A split as matrices: image rows, bags of words, and which image each caption is of.

    Raises:
      ValueError: images have several rows, or none; or the split is shuffled.
    """
    split.check_paired()
    rows = np.asarray(descriptor.rows(split, settings), np.float64)
    if rows.ndim != 2:
        raise ValueError(f"baselines read one vector of each image, not {rows.shape[1:]}")
    texts = bag.transform(split.captions)
    mean = sparse.csr_matrix(
        (np.ones(split.num_captions), (split.caption_image, np.arange(split.num_captions)))
    )
    return SimpleNamespace(
        image=rows, text=texts, owner=split.caption_image, mean=_unit(mean @ texts), split=split
    )


def read_data(settings):
    """The data of a run's settings: {split name: `read_split`}, and the bag of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    splits = datasets.open_run_data(settings)
    train = splits["train"]
    system = config.sheet(settings.model)
    usual = system.of_scenes if settings.data == "scenes" else system.of_photographs
    kind = descriptors.choose_features(settings, train, usual)
    if kind == "pixels":
        raise ValueError("baselines read vectors: give --features last, fne or regions")
    descriptor = descriptors.learn_descriptor(kind, train, settings)
    bag = TfidfVectorizer(analyzer=bag_words, min_df=2).fit(train.captions)
    return {
        name: read_split(split, descriptor, settings, bag) for name, split in splits.items()
    }, bag


def _unit(rows):
    """Rows of L2 norm 1, sparse or not; a row of zeros stays one."""
    if sparse.issparse(rows):
        from sklearn.preprocessing import normalize

        return normalize(rows)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms == 0, 1, norms)


def rsum_of(image, text, part):
    """rsum of unit rows on a split."""
    ranks = metrics.rank_both(image, text, part.owner)
    return metrics.rsum(*(metrics.summarise(one) for one in ranks))


# ---- The three ----------------------------------------------------------------------------------


def spectrum(rows):
    """Eigenvalues (K,) and eigenvectors (F, K) of the covariance of (N, F) centred rows.

    K is F; of fewer rows than columns, as full-network embeddings are, those that are not 0.
    """
    count, columns = rows.shape
    if columns <= count:
        return linalg.eigh(rows.T @ rows / count, overwrite_a=True, check_finite=False)
    values, sides = linalg.eigh(rows @ rows.T / count, overwrite_a=True, check_finite=False)
    first = min(int((values <= 1e-10 * values[-1]).sum()), count - 1)
    values = values[first:]
    lengths = np.sqrt(np.maximum(count * values, np.finfo(float).tiny))
    return values, rows.T @ (sides[:, first:] / lengths)


def fit_cca(train, seed=0):
    """Canonical pairs at every two strengths.

    Yields:
      (strengths, read): read(part, K, power) -> unit rows (N, K) of images, (M, K) of captions. The
      pairs are weighed by that power of their correlations.

    Raises:
      ValueError: the images, or their captions, do not vary.
    """
    from sklearn.utils.extmath import randomized_svd

    centre = train.image.mean(axis=0)
    image, text = train.image - centre, train.mean.toarray()
    middle = text.mean(axis=0)
    text -= middle
    (own, left), (theirs, right) = spectrum(image), spectrum(text)
    if not (own.mean() > 0 and theirs.mean() > 0):
        raise ValueError(
            "all images, or all their captions, are alike: nothing is to be correlated"
        )
    between = left.T @ (image.T @ (text @ right)) / len(image)
    for strengths in itertools.product(STRENGTHS, repeat=2):
        first, second = (
            1 / np.sqrt(np.maximum(values, 0) + strength * values.sum() / len(axes))
            for values, axes, strength in zip((own, theirs), (left, right), strengths, strict=True)
        )
        most = min(max(PAIRS), *between.shape)
        u, s, vt = randomized_svd(first[:, None] * between * second, most, random_state=seed)
        maps = left @ (first[:, None] * u), right @ (second[:, None] * vt.T)

        def read(part, pairs, power, maps=maps, s=s):
            weights = s[:pairs] ** power
            image = (part.image - centre) @ maps[0][:, :pairs]
            text = part.text @ maps[1][:, :pairs] - middle @ maps[1][:, :pairs]
            return _unit(image * weights), _unit(text * weights)

        yield strengths, read


def cca(data, _bag, _path):
    """(test rows of images and captions, what was chosen)."""
    best = (-1.0, (np.zeros(0), np.zeros(0)), "")
    for strengths, read_pairs in fit_cca(data["train"]):
        for pairs, power in itertools.product(PAIRS, POWERS):
            value = rsum_of(*read_pairs(data["validation"], pairs, power), data["validation"])
            if value > best[0]:
                chosen = f"strengths {strengths[0]:g} and {strengths[1]:g}, {pairs} pairs"
                test = read_pairs(data["test"], pairs, power)
                best = value, test, f"{chosen}, correlations to the power {power}"
    return best


def ridge(data, bag, path):
    """The same, by a linear map to word vectors of a file."""
    vectors, _ = read_word_vectors(path, list(bag.get_feature_names_out()))
    words = vectors.astype(np.float64)
    train = data["train"]
    centre, target = train.image.mean(axis=0), train.mean @ words
    middle = target.mean(axis=0)
    values, axes = spectrum(train.image - centre)
    toward = axes.T @ ((train.image - centre).T @ (target - middle)) / len(target)
    best = (-1.0, (np.zeros(0), np.zeros(0)), "")
    for strength in STRENGTHS:
        weights = axes @ (toward / (values + strength * values.sum() / len(axes))[:, None])

        def rows(part, weights=weights):
            return _unit((part.image - centre) @ weights), _unit(part.text @ words - middle)

        value = rsum_of(*rows(data["validation"]), data["validation"])
        if value > best[0]:
            best = value, rows(data["test"]), f"strength {strength:g}"
    return best


def nearest(data, _bag, _path):
    """The same, by the captions of the training image with the highest cosine."""
    train = data["train"]
    known = _unit(train.image)

    def rows(part):
        closest = np.argmax(_unit(part.image) @ known.T, axis=1)
        return train.mean[closest].toarray(), part.text.toarray()

    value = rsum_of(*rows(data["validation"]), data["validation"])
    return value, rows(data["test"]), "one neighbour"


def compare_baselines(work):
    """All three on the data that --train names."""
    settings = settings_of(*work.words)
    data, bag = read_data(settings)
    path, found = settings.word_vectors, []
    for make in (cca, *([ridge] if path else []), nearest):
        value, (image, text), chosen = make(data, bag, path)
        score, _ = grade_embeddings(image, text, data["test"].owner)
        recalls = {side: [score[side][key]["value"] for key in KEYS] for side in SIDES}
        row = {"baseline": make.__name__, "val_rsum": value, "chosen": chosen}
        found.append(row | recalls | {"rsum": score["rsum"]})
    return Report(f"What every learned row must beat, {work.title}:", found)


STUDIES = {
    "baselines": Study(
        trains="nothing: linear maps and neighbours, chosen on validation",
        prints="test recalls and rsum of canonical correlations, ridge regression and neighbours",
        columns={
            "baseline": lambda one: one["baseline"],
            "chosen on validation": lambda one: one["chosen"],
            "validation rsum": lambda one: f"{one['val_rsum']:.1f}",
            **GRADED,
        },
        make=compare_baselines,
        gives=(),
        baselines=False,
    )
}

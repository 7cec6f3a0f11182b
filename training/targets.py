"""What a training pair is measured by: the relevance of captions, and the classes of images.

Shape letters: N images, M captions, K classes, F feature, V words.
"""

import numpy as np
import scipy.sparse

from data.language import words

PHRASE_CAPTIONS = 20  # that a phrase must stand in to be a class


def instance_classes(settings, vectors, number: int) -> np.ndarray:
    """The classes of the training images: each its own, or K pseudo classes by k-means.

    Args:
      settings: with num_classes (K, 0: each its own) and data_seed.
      vectors: (N, F) image vectors, for k-means; each divided by its norm.
      number: N.

    Returns:
      (N,) int32.

    Raises:
      ValueError: there are fewer images than classes.

    Reference: Zheng et al., Dual-path convolutional image-text embeddings with instance loss, 2017,
      section 5.4 (K-means clusters as pseudo classes).
    """
    if not settings.num_classes:
        return np.arange(number, dtype=np.int32)
    if not 2 <= settings.num_classes <= number:
        raise ValueError(
            f"--num_classes {settings.num_classes}: expected 2 to {number:,}, the training images"
        )
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.preprocessing import normalize

    rows = normalize(np.asarray(vectors, np.float32))
    model = MiniBatchKMeans(
        settings.num_classes,
        random_state=settings.data_seed,
        batch_size=max(1024, 3 * settings.num_classes),
        n_init=1,
    )
    return model.fit_predict(rows).astype(np.int32)


def phrase_classes(captions: list[str], caption_image, vocabulary):
    """The words and pairs of neighbouring words that an image's captions say, as its classes.

    A phrase weighs log(M / m) - 1 where m of M captions say it: one of over a third of them weighs
    nothing, and one of less than 20 is no class.

    Args:
      captions: M of them; caption_image: (M,) their images, sorted; vocabulary: of the run.

    Returns:
      (N, K) SciPy sparse float32; rows sum to 1, or to 0 where an image's captions say none.

    Raises:
      ValueError: there is no such phrase.

    Reference: Joulin et al., Learning visual features from large weakly supervised data, ECCV 2016
      (words of captions as the classes of a softmax); Li et al., Learning visual n-grams from web
      data, ICCV 2017. Not in the paper of system 3.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    counter = CountVectorizer(
        tokenizer=vocabulary.tokenise, token_pattern=None, lowercase=False, ngram_range=(1, 2),
        binary=True, dtype=np.float32,
    )  # fmt: skip
    said = counter.fit_transform(captions)  # (M, phrases)
    often = np.asarray(said.sum(axis=0))[0]
    weights = np.log(len(captions) / often) - 1
    kept = np.flatnonzero((often >= PHRASE_CAPTIONS) & (weights > 0))
    if not len(kept):
        raise ValueError(
            f"--classes phrases: no phrase stands in {PHRASE_CAPTIONS} of the {len(captions):,} "
            "training captions; use --classes images"
        )
    rows = (caption_image, np.arange(len(captions)))
    own = scipy.sparse.csr_matrix((np.ones(len(captions), np.float32), rows))  # (N, M)
    found = (own @ said[:, kept]).minimum(1) @ scipy.sparse.diags(weights[kept])
    return normalize(found.tocsr(), norm="l1").astype(np.float32)


def tfidf_rows(captions: list[str]):
    """TF-IDF vectors of the training captions, scikit-learn's defaults.

    Returns:
      (M, V) SciPy sparse float64, rows of L2 norm 1 (0 for a caption without words).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(analyzer=words.bag_words).fit_transform(captions).tocsr()


def choose_relevance(settings, concepts) -> str:
    """ "concepts", "identity" or "tfidf": what `--relevance` means for this data.

    Raises:
      ValueError: concepts are asked for and the data has none; or a soft triplet, which is 0
        wherever negatives have relevance 0, is trained with identity.
    """
    chosen = settings.relevance
    soft = settings.loss.startswith("soft_")
    if chosen == "auto":
        chosen = "concepts" if concepts is not None else "identity"
    if chosen == "concepts" and concepts is None:
        raise ValueError(
            f"--relevance concepts: the data set {settings.data} has no concepts; use tfidf or "
            "identity"
        )
    if chosen == "identity" and soft:
        raise ValueError(
            f"--loss {settings.loss} is 0 where negatives have relevance 0, as with --relevance "
            "identity: use tfidf or concepts"
        )
    literal = chosen == "concepts" and settings.loss in ("modified", "assignment")
    if settings.literal_relevance and not literal:
        raise ValueError(
            "--literal_relevance is about the concepts of the modified and the assignment loss: it "
            f"means nothing with --relevance {chosen} and --loss {settings.loss}"
        )
    return chosen

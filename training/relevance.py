"""What counts as alike in training: concepts of the images, words of their captions, or nothing."""

from data.language import words


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

"""How good written captions are, by what people wrote: BLEU-4 and CIDEr-D.

    bleu4(["a dog runs"], [["a dog runs fast", "a brown dog"]])     # 0 to 1, by sacreBLEU
    cider(["a dog runs"], [["a dog runs fast", "a brown dog"]])     # 0 to 10

Both read words alone: lower case, no punctuation, as COCO's evaluation does (`words`). Neither
needs Java, TensorFlow or a download.

Shape letters: C written captions, one an image; R references of an image, any number.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from data.language.words import is_word, word_tokens

ORDERS = 4  # phrases of one to so many words
SIGMA = 6.0  # of CIDEr-D's penalty on a difference in length, in words


def words(caption: str) -> list[str]:
    """The words of a caption: `text.word_tokens` without punctuation.

    Differs from COCO's evaluation: that splits by the Java tokeniser of the Penn Treebank, which
    keeps t-shirt together (here t shirt) and takes don't apart as do n't (here don 't).
    """
    return [token for token in word_tokens(caption) if is_word(token)]


def bleu4(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU of phrases of one to four words, by sacreBLEU.

        BLEU = min(1, exp(1 - r / c)) * (p1 p2 p3 p4)^(1/4)

    p_n: share of the written n-word phrases that stand in a reference, each at most as often as in
    one of them; c, r: words written, and words of the references nearest in length. Nothing is
    smoothed: 0 where no phrase of four words is right.

    Args:
        hypotheses: C written captions.
        references: for each of them its R references.

    Returns:
        0 to 1.

    Raises:
        ValueError: there is no caption, or one without references.

    Reference: Papineni et al., BLEU: a method for automatic evaluation of machine translation, 2002
        (Post, A call for clarity in reporting BLEU scores, 2018, for the library).
    """
    from sacrebleu.metrics.bleu import BLEU

    written, known = _checked(hypotheses, references)
    most = max(map(len, known))
    lines = [" ".join(own) for own in written]
    # sacreBLEU wants one stream for each place, with None where an image has fewer references.
    streams: list[Any] = [
        [" ".join(own[place]) if place < len(own) else None for own in known]
        for place in range(most)
    ]
    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    return metric.corpus_score(lines, streams).score / 100


def cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D: how near the written phrases are to the references', rare phrases weighing most.

        CIDEr-D_n(c, S) = 10 / R * sum_j exp(-(l(c) - l(s_j))^2 / (2 sigma^2))
                          * min(g_n(c), g_n(s_j)) . g_n(s_j) / (|g_n(c)| |g_n(s_j)|)

    g_n: number of each n-word phrase times log(C / images whose references have it); l: words;
    sigma 6. The mean over n = 1 to 4 and over the captions.

    Args:
        hypotheses: C written captions.
        references: for each of them its R references; they say how rare a phrase is.

    Returns:
        0 to 10; 0 for a single image, whose phrases are in every image's references.

    Raises:
        ValueError: there is no caption, or one without references.

    Reference: Vedantam et al., CIDEr: consensus-based image description evaluation, 2015, section
        "CIDEr-D". Differs from the paper: phrases are counted, not divided by the caption's number
        of phrases, as in the authors' code; that matters in the minimum alone.
    """
    written, known = _checked(hypotheses, references)
    counts = [_phrases(own) for own in written]
    of_references = [[_phrases(own) for own in group] for group in known]
    images = Counter(p for group in of_references for p in set().union(*group))
    total = math.log(len(written))
    # A phrase that no reference has weighs as if one had it.
    rare = {phrase: total - math.log(count) for phrase, count in images.items()}
    scores = []
    for own, group in zip(counts, of_references, strict=True):
        mine = _weighted(own, rare, total)
        scores += [sum(_likeness(mine, _weighted(r, rare, total)) for r in group) / len(group)]
    return 10 * sum(scores) / len(scores)


def _checked(hypotheses, references) -> tuple[list[list[str]], list[list[list[str]]]]:
    """The words of both."""
    if not len(hypotheses) or len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} written captions and references for {len(references)} images: "
            "expected one caption, and its references, for each image"
        )
    for place, own in enumerate(references):
        if isinstance(own, str) or not len(own):
            raise ValueError(f"image {place} has {own!r} for references; expected a list of texts")
    return list(map(words, hypotheses)), [list(map(words, own)) for own in references]


def _phrases(sentence: list[str]) -> Counter:
    """How often each phrase of one to four words stands there."""
    return Counter(
        tuple(sentence[start : start + n])
        for n in range(1, ORDERS + 1)
        for start in range(len(sentence) - n + 1)
    )


def _weighted(counts: Counter, rare: dict, unseen: float) -> tuple[list[dict], list[float], int]:
    """(weights, their L2 norm) by phrase length, and the number of words."""
    weights: list[dict] = [{} for _ in range(ORDERS)]
    for phrase, count in counts.items():
        weights[len(phrase) - 1][phrase] = count * rare.get(phrase, unseen)
    norms = [math.sqrt(sum(value**2 for value in own.values())) for own in weights]
    return weights, norms, sum(count for phrase, count in counts.items() if len(phrase) == 1)


def _likeness(first, second) -> float:
    """CIDEr-D of a caption and one reference, without the factor 10."""
    total = 0.0
    for mine, theirs, norm, other in zip(first[0], second[0], first[1], second[1], strict=True):
        if norm and other:
            common = sum(min(w, theirs[p]) * theirs[p] for p, w in mine.items() if p in theirs)
            total += common / (norm * other)
    return total / ORDERS * math.exp(-((first[2] - second[2]) ** 2) / (2 * SIGMA**2))

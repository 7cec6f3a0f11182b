"""BLEU and CIDEr-D written from their papers: plain loops over words, no Counter, no library."""

import math


def phrases(words, n):
    """All phrases of n words, in order, repeated as often as they stand there."""
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def bleu4(hypotheses, references):
    """Papineni et al. 2002, sections 2.1 to 2.3; lists of words."""
    logs = 0.0
    for n in (1, 2, 3, 4):
        right = total = 0
        for written, known in zip(hypotheses, references, strict=True):
            for phrase in set(phrases(written, n)):
                count = phrases(written, n).count(phrase)
                right += min(count, max(phrases(r, n).count(phrase) for r in known))
                total += count
        if not right:
            return 0.0
        logs += math.log(right / total) / 4
    c = sum(map(len, hypotheses))
    r = 0
    for written, known in zip(hypotheses, references, strict=True):
        r += min((abs(len(one) - len(written)), len(one)) for one in known)[1]
    return (1 if c > r else math.exp(1 - r / c)) * math.exp(logs)


def cider(hypotheses, references):
    """Vedantam et al. 2015, Eqs. 1 to 3 with the changes of CIDEr-D; lists of words."""
    scores = []
    for written, known in zip(hypotheses, references, strict=True):
        for n in (1, 2, 3, 4):
            mine = vector(written, n, references)
            for one in known:
                theirs = vector(one, n, references)
                dot = 0.0
                for phrase in mine:
                    if phrase in theirs:
                        dot += min(mine[phrase], theirs[phrase]) * theirs[phrase]
                norms = length(mine) * length(theirs)
                penalty = math.exp(-((len(written) - len(one)) ** 2) / (2 * 6**2))
                scores += [(10 * penalty * dot / norms if norms else 0) / len(known)]
    return sum(scores) / 4 / len(hypotheses)


def vector(words, n, references):
    """g_n: phrase -> count times inverse document frequency; an image is a document."""
    found = {}
    for phrase in phrases(words, n):
        images = 0
        for known in references:
            images += any(phrase in phrases(one, n) for one in known)
        weight = math.log(len(references) / max(1, images))
        found[phrase] = found.get(phrase, 0) + weight
    return found


def length(values):
    """L2 norm of a dict's values."""
    return math.sqrt(sum(value**2 for value in values.values()))

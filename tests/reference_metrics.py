"""Retrieval metrics written straight from their definitions: slow loops over Python floats.

Nothing here is sorted by a library or shares a line with metrics.py or similarity.py; scores are
lists of lists with a row per caption. Shape letters: C candidates, M captions, N images, Q queries.
"""

import math
from fractions import Fraction
from itertools import permutations, product

TIE = 1e-12


def scores(text, image, similarity="cosine"):
    """The similarity of every caption with every image: a row per caption."""
    compare = {"cosine": dot_product, "order": order_similarity}[similarity]
    return [[compare(c, i) for i in image] for c in text]


def dot_product(caption, image):
    """sum_k c_k i_k."""
    return math.fsum(c * i for c, i in zip(caption, image, strict=True))


def order_similarity(caption, image):
    """-sum_k max(0, c_k - i_k)^2: what the caption says beyond the image."""
    return -math.fsum((c - i) ** 2 for c, i in zip(caption, image, strict=True) if c > i)


def text_to_image_ranks(image, text, owner, similarity="cosine"):
    """1 + the number of other images that score as high as the caption's own, or higher."""
    ranks = []
    for caption, row in enumerate(scores(text, image, similarity)):
        own = row[owner[caption]]
        others = [s for i, s in enumerate(row) if i != owner[caption]]
        ranks.append(1 + sum(1 for s in others if s > own - TIE))
    return ranks


def image_to_text_ranks(image, text, owner, similarity="cosine"):
    """1 + the number of captions of other images that score as high as the best own one."""
    ranks = []
    for i, row in enumerate(zip(*scores(text, image, similarity), strict=True)):
        own = [s for c, s in enumerate(row) if owner[c] == i]
        if own:
            others = [s for c, s in enumerate(row) if owner[c] != i]
            ranks.append(1 + sum(1 for s in others if s > max(own) - TIE))
    return ranks


def relevance(first, second, concepts):
    """1 for one and the same image, otherwise the cosine of the concept vectors, 0 without any."""
    if first == second:
        return 1.0
    if concepts is None:
        return 0.0
    a, b = concepts[first], concepts[second]
    squares = sum(x * x for x in a) * sum(y * y for y in b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(squares) if squares else 0.0


def against_the_model(row, gains):
    """The gains in the order of falling scores; where candidates tie, the least relevant first."""
    left, ordered = list(range(len(row))), []
    while left:
        best = max(row[c] for c in left)
        tied = [c for c in left if row[c] > best - TIE]
        chosen = min(tied, key=lambda c: gains[c])
        ordered.append(gains[chosen])
        left.remove(chosen)
    return ordered


def average_precision(ordered):
    """AP@10 of gains in ranked order; the list is the whole gallery."""
    hits, total = 0, 0.0
    for place, gain in enumerate(ordered[:10], start=1):
        if gain > 0.3:
            hits += 1
            total += hits / place
    return total / min(10, sum(1 for gain in ordered if gain > 0.3))


def discounted_gain(ordered):
    """DCG@10 of gains in ranked order."""
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(ordered[:10], start=1))


def normalised_gain(ordered):
    """nDCG@10 of gains in ranked order; the list is the whole gallery."""
    return discounted_gain(ordered) / discounted_gain(sorted(ordered, reverse=True))


def graded(image, text, owner, concepts, similarity="cosine"):
    """AP@10 and nDCG@10 of each query: {direction: (list, list)}."""
    table = scores(text, image, similarity)
    forward = [
        against_the_model(row, [relevance(owner[c], i, concepts) for i in range(len(image))])
        for c, row in enumerate(table)
    ]
    backward = [
        against_the_model(row, [relevance(i, other, concepts) for other in owner])
        for i, row in enumerate(zip(*table, strict=True))
        if i in owner
    ]
    return {
        direction: ([average_precision(o) for o in orders], [normalised_gain(o) for o in orders])
        for direction, orders in (("text_to_image", forward), ("image_to_text", backward))
    }


def summary(ranks):
    """The metrics that ranks alone decide."""
    zero_based = sorted(rank - 1 for rank in ranks)
    median = (zero_based[(len(ranks) - 1) // 2] + zero_based[len(ranks) // 2]) / 2
    result = {
        "mrr": math.fsum(1 / rank for rank in ranks) / len(ranks),
        "mrr@10": math.fsum(1 / rank for rank in ranks if rank <= 10) / len(ranks),
        "median_rank": math.floor(median) + 1,
        "mean_rank": sum(ranks) / len(ranks),
    }
    for cutoff in (1, 5, 10):
        result[f"recall@{cutoff}"] = 100 * sum(1 for r in ranks if r <= cutoff) / len(ranks)
    return result


def every_order(own, tiers, gains):
    """What one query scores over all orders of its tiers' candidates, tier by tier: exact means.

    Args:
        own: C booleans.
        tiers: lists of candidates, the first tier first.
        gains: C relevances.

    Returns:
        {metric: mean}, and "ranks": {rank: probability as a Fraction}.
    """
    orders = [sum(order, ()) for order in product(*map(permutations, tiers))]
    ranks = [1 + min(place for place, c in enumerate(order) if own[c]) for order in orders]
    lists = [[gains[c] for c in order] for order in orders]
    result = {k: v for k, v in summary(ranks).items() if k != "median_rank"}
    result["map@10"] = math.fsum(map(average_precision, lists)) / len(orders)
    result["ndcg@10"] = math.fsum(map(normalised_gain, lists)) / len(orders)
    result["ranks"] = {rank: Fraction(ranks.count(rank), len(ranks)) for rank in set(ranks)}
    return result


def expected_median(distributions):
    """The smallest k by which half of the queries are expected to have found their own."""
    k, found = 0, Fraction(0)
    while 2 * found < len(distributions):
        k += 1
        found += sum((of.get(k, Fraction(0)) for of in distributions), Fraction(0))
    return k

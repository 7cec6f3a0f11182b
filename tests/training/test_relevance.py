"""What relevance means for some data."""

import numpy as np
import pytest
import tiny_settings

from training.relevance import choose_relevance


@pytest.mark.parametrize(
    ("asked", "loss", "concepts", "found"),
    [
        ("auto", "modified", True, "concepts"),
        ("auto", "modified", False, "identity"),
        ("auto", "soft_margin_triplet", True, "concepts"),
        ("auto", "soft_margin_triplet", False, "is 0 where negatives have relevance 0"),
        ("identity", "soft_margin_triplet", False, "is 0 where negatives have relevance 0"),
        ("concepts", "modified", False, "has no concepts"),
        ("concepts", "modified", True, "concepts"),
        ("tfidf", "max_hinge", False, "tfidf"),
    ],
)
def test_what_relevance_means(asked, loss, concepts, found):
    settings = tiny_settings.make(relevance=asked, loss=loss)
    given = np.eye(2) if concepts else None
    if found in ("concepts", "identity", "tfidf"):
        assert choose_relevance(settings, given) == found
        return
    with pytest.raises(ValueError, match=found):
        choose_relevance(settings, given)


@pytest.mark.parametrize("loss", ["soft_margin_triplet", "max_hinge", "cross_entropy"])
def test_literal_relevance_is_of_two_losses(loss):
    chosen = {"relevance": "concepts", "literal_relevance": True}
    with pytest.raises(ValueError, match="means nothing with"):
        choose_relevance(tiny_settings.make(loss=loss, **chosen), np.eye(2))
    assert choose_relevance(tiny_settings.make(loss="modified", **chosen), np.eye(2)) == "concepts"

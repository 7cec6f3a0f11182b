"""What relevance means for some data, and the classes of images."""

import numpy as np
import pytest
import tiny_settings

from training.relevance import choose_relevance, instance_classes


def test_what_relevance_means():
    settings = tiny_settings.make()
    concepts = np.eye(2)
    settings.relevance = "auto"
    assert choose_relevance(settings, concepts) == "concepts"
    assert choose_relevance(settings, None) == "identity"
    settings.loss = "soft_margin_triplet"
    assert choose_relevance(settings, concepts) == "concepts"
    with pytest.raises(ValueError, match="is 0 where negatives have relevance 0"):
        choose_relevance(settings, None)
    settings.relevance = "identity"
    with pytest.raises(ValueError, match="is 0 where negatives have relevance 0"):
        choose_relevance(settings, None)
    settings.relevance = "concepts"
    with pytest.raises(ValueError, match="has no concepts"):
        choose_relevance(settings, None)
    settings.literal_relevance = True
    for loss in ("soft_margin_triplet", "max_hinge", "cross_entropy"):
        settings.loss = loss
        with pytest.raises(ValueError, match="means nothing with"):
            choose_relevance(settings, concepts)
    settings.loss = "modified"
    assert choose_relevance(settings, concepts) == "concepts"


def test_each_image_is_a_class_or_pseudo_classes_are_clusters():
    settings = tiny_settings.make()
    own = instance_classes(settings, None, 5)
    assert own.dtype == np.int32 and own.tolist() == [0, 1, 2, 3, 4]
    rng = np.random.default_rng(0)
    centres = np.eye(3)[rng.integers(0, 3, 60)]
    # Direction, not length, tells them apart.
    vectors = (centres + 0.02 * rng.standard_normal((60, 3))) * rng.uniform(1, 50, (60, 1))
    settings.num_classes = 3
    found = instance_classes(settings, vectors, 60)
    assert found.dtype == np.int32 and set(found) == {0, 1, 2}
    pairs = set(zip(centres.argmax(1).tolist(), found.tolist(), strict=True))
    assert len(pairs) == 3
    np.testing.assert_array_equal(instance_classes(settings, vectors, 60), found)
    for odd in (1, 61):
        settings.num_classes = odd
        with pytest.raises(ValueError, match=f"--num_classes {odd}: expected 2 to 60"):
            instance_classes(settings, vectors, 60)

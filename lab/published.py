"""What the papers of the five systems report, beside which README sets what was run here."""

from typing import NamedTuple


class Published(NamedTuple):
    """A published figure: what was measured, on which data; where it stands."""

    text: str
    source: str


PUBLISHED = {  # by the recipe that trains it
    "irse_modified": Published(
        "t2i MRR 0.013 of 27,808 (NUS-WIDE-Lite)", "Sijmkens, IRSE project report, 2021"
    ),
    "ph": Published(
        "rsum 274.9 (Flickr8k, 6,000 training images, VGG16)",
        "Vilalta et al. 2019, Table 2, FNE-PH",
    ),
    "gru_best": Published(
        "rsum 281.4, its best row (Flickr8k, 6,000 training images, VGG16)",
        "Vilalta et al. 2019, Table 2, FNE-MH",
    ),
    "dual_path": Published("rsum 414.5 (Flickr30k, ResNet-50)", "Zheng et al. 2017, Table 1"),
    "simclr": Published(
        "rsum 229.5 (COCO, 5,000 images, ResNet-34 and DistilBERT)",
        "Timofeev et al. 2021, its table of results",
    ),
    "rank_then_joint": Published(
        "nine held-out pairs (COCO): ranking recall@5 0.445, written with a beam of 5 0.119",
        "Bottom-up ranking generation, macro averages worked out from its tables",
    ),
}

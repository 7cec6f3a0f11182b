"""System 2: a GRU beside a linear map of the image."""

from dataclasses import dataclass

from settings.options import option
from settings.training import Settings
from systems.system import SENTENCES, VECTORS, System


@dataclass(frozen=True)
class GruSettings(Settings):
    """Settings of system 2 alone."""

    title = "System 2 (gru)"
    bidirectional: bool = option(False, "Read captions in both directions.", roles="shape")
    image_bias: bool = option(False, "Bias in the linear map of the image.", roles="shape")
    absolute: bool = option(
        False, "Take absolute values of the embeddings after the L2 norm.", roles="shape"
    )
    embedding_dropout: float = option(
        0.0, "Dropout rate of the word embeddings.", least=0, most=0.99
    )


SYSTEM = System(
    settings=GruSettings,
    build="systems.gru.towers:build",
    tokeniser=lambda settings: "words",
    features=VECTORS,
    reads_words=(*SENTENCES, "bag"),
    of_photographs="fne",
    of_scenes="regions",  # needs no published weights
)

"""System 2: a GRU beside a linear map of the image."""

from dataclasses import dataclass

from run.options import option
from run.settings import Settings
from systems.system import VECTORS, System


@dataclass(frozen=True)
class GruSettings(Settings):
    """What only system 2 reads, too."""

    title = "System 2 (gru)"
    bidirectional: bool = option(False, "Read both ways.", roles="shape")
    bag: bool = option(False, "Add a bag of words to the GRU's row.", roles="shape")
    image_bias: bool = option(False, "A bias in the image's linear map.", roles="shape")
    absolute: bool = option(False, "Absolute values after the L2 norm.", roles="shape")
    embedding_dropout: float = option(0.0, "Dropout of the word vectors.", least=0, most=0.99)


SYSTEM = System(
    settings=GruSettings,
    build="systems.gru.towers:build",
    tokeniser=lambda settings: "words",
    features=VECTORS,
    of_photographs="fne",
    of_scenes="regions",  # needs no published weights
)

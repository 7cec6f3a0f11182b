"""System 4: a residual network reads the picture, DistilBERT the caption."""

from dataclasses import dataclass
from pathlib import Path

from run.options import option
from run.settings import Settings
from systems.system import VECTORS, System


@dataclass(frozen=True)
class TransformerSettings(Settings):
    """What only system 4 reads, too."""

    title = "System 4 (transformer)"
    reads_pixels = True
    text_size: str = option(
        "base",
        "Layers, heads and width of the text tower: 2, 2, 128; 4, 2, 128; 4, 4, 256; 4, 8, 512; or "
        "DistilBERT's 6, 12, 768.",
        choices=("tiny", "narrow", "mini", "small", "base"),
        roles="shape",
    )
    text_weights: str = option(
        "none",
        "Weights that the text tower starts from: none (random), a preset of KerasHub such as "
        "distil_bert_base_en_uncased, its folder, or a file of Keras weights (which needs "
        "--word_pieces).",
        roles="words place",
    )
    word_pieces: str | None = option(
        None,
        "Vocabulary of an uncased BERT (vocab.txt). Without it that of --text_weights, or one "
        "learned from the training captions, of at most --max_words.",
        roles="words place",
    )
    max_pieces: int = option(
        32,
        "Word pieces of a caption that are read, [CLS] and [SEP] counted.",
        least=3,
        most=512,
        roles="words",
    )


def check_transformer(settings: TransformerSettings) -> None:
    """Refuses settings that mean nothing together. Raises ValueError."""
    weights = settings.text_weights
    if not settings.word_pieces and Path(weights).expanduser().is_file():
        raise ValueError(
            f"--text_weights {weights}: a file does not say which word pieces its weights are for; "
            "give --word_pieces FILE too"
        )


SYSTEM = System(
    settings=TransformerSettings,
    build="systems.transformer.towers:build",
    tokeniser=lambda settings: "pieces",
    features=("pixels", *VECTORS),
    of_photographs="pixels",
    of_scenes="pixels",
    default_recipe="transformer_scenes",
    check=check_transformer,
    vocabulary="systems.transformer.reading:vocabulary",
)

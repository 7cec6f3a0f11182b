"""System 4: a residual network reads the picture, DistilBERT the caption."""

from dataclasses import dataclass

from settings.options import option
from settings.training import Settings
from systems.system import VECTORS, System


@dataclass(frozen=True)
class TransformerSettings(Settings):
    """Settings of system 4 alone."""

    title = "System 4 (transformer)"
    reads_pixels = True
    text_size: str = option(
        "auto",
        "Size of the text transformer: tiny, narrow, mini, small, base (DistilBERT), or four "
        "numbers layers,heads,width,inner. auto: that of --text_weights, if it is a folder, "
        "else base.",
        roles="shape",
    )
    text_pooling: str = option(
        "cls",
        "Embedding of a caption: that of the [CLS] token; the mean over all tokens; or layers, the "
        "means of the last three layers, concatenated.",
        choices=("cls", "mean", "layers"),
        roles="shape",
    )
    text_rate: float = option(
        1.0,
        "Learning rate of the text transformer, as a factor of --learning_rate. With 0 it is not "
        "trained and reads each caption once; --dropout is then of what it has read.",
        least=0,
    )
    text_weights: str = option(
        "none",
        "Initial weights of the text transformer: none (random); a KerasHub preset such as "
        "distil_bert_base_en_uncased; the folder of a DistilBERT or BERT (KerasHub or Hugging "
        "Face); or a Keras weights file, which needs --word_pieces.",
        roles="words place",
    )
    word_pieces: str | None = option(
        None,
        "Vocabulary of a BERT (vocab.txt), cased or not. Without the flag: that of --text_weights, "
        "or one learned from the training captions, of at most --max_words word pieces.",
        roles="words place",
    )
    max_pieces: int = option(
        32,
        "Largest number of word pieces of a caption, with [CLS] and [SEP]; the rest is cut off.",
        least=3,
        most=512,
        roles="words",
    )


SYSTEM = System(
    settings=TransformerSettings,
    build="systems.transformer.towers:build",
    tokeniser=lambda settings: "pieces",
    features=("pixels", *VECTORS),
    reads_words=("bag",),
    of_photographs="pixels",
    of_scenes="pixels",
    default_recipe="transformer_scenes",
    check="systems.transformer.checks:check_transformer",
    resolve="systems.transformer.checks:resolve_transformer",
    vocabulary="systems.transformer.reading:vocabulary",
)

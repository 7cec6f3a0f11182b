"""Sizes of the text transformer: by name, as four numbers, or of a folder of published weights.

References:
  [Sanh] Sanh et al., DistilBERT, a distilled version of BERT, 2019.
  [Turc] Turc et al., Well-read students learn better, 2019 (the smaller sizes).
"""

from pathlib import Path
from typing import NamedTuple

from run import files


class TextSize(NamedTuple):
    """Sizes of a transformer; a head is hidden / heads wide."""

    layers: int
    heads: int
    hidden: int  # W
    inner: int  # of the two dense layers behind each attention

    def __str__(self) -> str:
        return ",".join(map(str, self))


TEXT_SIZES = {
    "tiny": TextSize(2, 2, 128, 512),
    "narrow": TextSize(4, 2, 128, 512),
    "mini": TextSize(4, 4, 256, 1024),
    "small": TextSize(4, 8, 512, 2048),
    "base": TextSize(6, 12, 768, 3072),  # DistilBERT
}
KEYS = (  # of a folder's config.json: DistilBERT and BERT of Hugging Face, and those of KerasHub
    ("n_layers", "n_heads", "dim", "hidden_dim"),
    ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size"),
    ("num_layers", "num_heads", "hidden_dim", "intermediate_dim"),
)


def parse_size(text: str) -> TextSize:
    """The size that --text_size means: a name of `TEXT_SIZES`, or "layers,heads,width,inner".

    Raises:
      ValueError: it is neither, or the heads do not share the width evenly.
    """
    if text in TEXT_SIZES:
        return TEXT_SIZES[text]
    numbers = [int(word) for word in text.split(",") if word.strip().isdigit()]
    if len(numbers) != 4 or len(text.split(",")) != 4 or min(numbers) < 1:
        raise ValueError(
            f"--text_size {text}: there are {', '.join(TEXT_SIZES)}, or four numbers, "
            "layers,heads,width,inner"
        )
    size = TextSize(*numbers)
    if size.hidden % size.heads:
        raise ValueError(f"--text_size {text}: {size.heads} heads cannot share {size.hidden}")
    return size


def size_of(weights: str) -> str:
    """What --text_size auto means beside --text_weights: the folder's own size, else "base".

    Raises:
      ValueError: the folder's config.json gives no sizes.
    """
    path = Path(weights).expanduser() / "config.json"
    if not path.is_file():
        return "base"
    found = files.read_json(path)
    found = found if isinstance(found, dict) else {}
    found = found["config"] if isinstance(found.get("config"), dict) else found
    for keys in KEYS:
        given = (found.get(key) for key in keys)
        numbers = [number for number in given if type(number) is int and number > 0]
        if len(numbers) == len(keys):
            return str(TextSize(*numbers))
    raise ValueError(
        f"--text_weights {weights}: config.json gives no sizes of a BERT or DistilBERT; expected "
        f"{', '.join(KEYS[0])} or {', '.join(KEYS[1])}"
    )

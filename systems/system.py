"""What a system's sheet says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from settings.options import own_names
from settings.training import SentenceOptions, Settings

SENTENCES = tuple(name for name in own_names(SentenceOptions) if name != "bag")
VECTORS = ("ready", "regions", "last", "fne")  # features that are one row for each picture
BOXES = ("bottom_up", "boxes", "grid")  # several rows for each picture


@dataclass(frozen=True)
class Targets:
    """What the batches of a system bring beside captions and images.

    Attributes:
      classes: (N,) int32, the images' classes, or SciPy sparse (N, K), their shares of classes; or
        None. Captions then fill rows of a fixed length, at random shifts.
      num_classes: K. candidates: captions that hard texts are chosen from; 0: none.
    """

    classes: Any = None
    num_classes: int = 0
    candidates: int = 0


@dataclass(frozen=True)
class System:
    """A system, without its towers.

    Attributes:
      settings: `Settings` with the system's own options.
      build: "module:function" that makes the towers and heads: (settings, facts, loss) -> Parts.
      tokeniser: settings -> the rule that splits captions, a name of `words.TOKENISERS`.
      features: values of --features that it reads.
      of_photographs, of_scenes: what --features auto makes of pictures.
      reads_words: fields of `SentenceOptions` that its text tower reads.
      writes: whether it may write captions.
      default_recipe: read where --model names the system and no --recipe is given.
      check: "module:function", refuses settings that contradict each other: ValueError.
      resolve: "module:function", the settings with what "auto" means; called once, before training.
      vocabulary: "module:function", (settings, training captions) -> Vocabulary; "": their words.
      targets: "module:function", (settings, training split, its images, vocabulary) -> `Targets`
        that a batch brings beside captions and images; "": none.
    """

    settings: type[Settings]
    build: str
    tokeniser: Callable[[Any], str]
    features: tuple[str, ...]
    of_photographs: str
    of_scenes: str
    reads_words: tuple[str, ...] = ()
    writes: bool = False
    default_recipe: str | None = None
    check: str = ""
    resolve: str = ""
    vocabulary: str = ""
    targets: str = ""

    @property
    def reads_boxes(self) -> bool:
        """Whether it reads several rows of each image."""
        return set(self.features) <= {"ready", *BOXES}

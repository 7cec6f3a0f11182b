"""The flags of `retrieve.py`: what is asked, and how the answer is shown."""

from dataclasses import dataclass

from run.options import Options, option


@dataclass(frozen=True)
class AskOptions(Options):
    """What is asked, and how the answer is shown."""

    title = "Ask"
    k: int = option(10, "Number of results.", least=1)
    image: str | None = option(
        None,
        "Search by image: find captions for an image of the gallery, by its name or number "
        "(from 0), or for an image file.",
    )
    caption: bool = option(False, "With --image: write new captions of the image (--model joint).")
    beam: int = option(
        5, "With --caption: width of the beam search, and the number of captions shown.", least=1
    )
    rerank: bool = option(
        False, "With --caption: of a beam of 100, show the captions nearest to the image."
    )
    normalise: bool = option(
        False,
        "With --caption: rank by the mean log probability of a word, not by the sum, which "
        "favours short captions.",
    )
    explain: bool = option(
        False,
        "Explain the best result: how much each word and each region of the image contributes "
        "to the score.",
    )
    explain_grid: int = option(
        7,
        "With --explain: image regions along each side. More are finer and slower.",
        least=2,
        most=64,
    )
    output: str | None = option(
        None,
        "File for the picture. Without the flag: answer.png or explanation.png in the run's "
        "folder.",
    )
    pictures_anywhere: bool = option(
        False,
        "Also open images outside the folder of the run's data. Only for a run that you trust.",
    )
    show: bool = option(False, "Open the picture with the system's viewer.")
    json: bool = option(
        False, "Print JSON, one line a query. A picture is drawn only with --output or --show."
    )

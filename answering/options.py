"""The flags of `retrieve.py`: what is asked, and how the answer is shown."""

from dataclasses import dataclass

from run.options import Options, option


@dataclass(frozen=True)
class AskOptions(Options):
    """What is asked, and how the answer is shown."""

    title = "Ask"
    k: int = option(10, "Number of answers.", least=1)
    image: str | None = option(
        None,
        "Find captions for this picture: an image of the gallery, by its name or its number (from "
        "0), or a picture file.",
    )
    caption: bool = option(False, "With --image: write captions of the picture.")
    beam: int = option(5, "With --caption: width of the beam, and how many are shown.", least=1)
    rerank: bool = option(
        False, "With --caption: of a beam of 100 those that are nearest to the picture."
    )
    normalise: bool = option(
        False,
        "With --caption: compare the means of a caption's log probabilities, not their sums, which "
        "favour short ones.",
    )
    explain: bool = option(
        False,
        "Say why the best answer is the best: what each word and each place of the picture "
        "contributes to the score.",
    )
    explain_grid: int = option(
        7,
        "With --explain: places of the patch along a side of the picture. More are finer and "
        "slower.",
        least=2,
        most=64,
    )
    output: str | None = option(
        None,
        "Where the picture goes. Without the flag: answer.png, or explanation.png, in the run "
        "folder.",
    )
    pictures_anywhere: bool = option(
        False, "Open pictures outside the folder of the run's data, too: of a run that you trust."
    )
    show: bool = option(False, "Open the picture with the system's viewer.")
    json: bool = option(False, "Print JSON, one line a query; draw only with --output or --show.")

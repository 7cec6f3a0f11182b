r"""Finds pictures for a sentence, or captions for a picture, in what test.py scored last.

    python retrieve.py "a small red circle above a blue star"
    python retrieve.py "a small red circle above a blue star" --explain    # why the first one
    python retrieve.py --image test-00012        # the other way: the nearest captions
    python retrieve.py --image FILE --caption    # written anew, by a run of --model joint
    python retrieve.py                           # reads queries line by line

Prints a table and saves a picture, answer.png in the run folder. Never imports TensorFlow.

--explain says of the best answer how much the score changes when a word is left out, one by one,
and when a patch of the picture's mean colour covers a place of the picture. Below 0: that word or
place supports the match. Of a caption that was written it shows where each word looked. Its picture
is explanation.png.
"""

import run.quiet  # noqa: F401 - first, so that Ctrl-C is one line from here on

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size

from absl import flags

from answering import search
from data.pictures import load_picture
from gallery.stored import Gallery
from run import console, files, folder, options
from run.folder import RunOptions
from run.options import Options, option

FLAGS = flags.FLAGS


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


SECTIONS = (RunOptions, AskOptions)
for _section in SECTIONS:
    options.define(_section, FLAGS)


def answer(run, gallery, asked, explainer=None):
    """Prints and draws what is nearest to a sentence or a picture, or why the first of it is."""
    if asked.unknown:
        tell(f"not known to the model: {console.some_words(asked.unknown)}")
    answers, note = asked.nearest(gallery, FLAGS.k)
    kind = "" if gallery.similarity == "cosine" else f" · {gallery.similarity} similarity"
    origin = f"{run}{kind}"
    note = f"{note} · {origin}"
    columns = get_terminal_size((120, 24)).columns  # 120 where there is no terminal
    if not FLAGS.json:
        title = console.cut(console.printable(asked.name), columns)
        print(f"{title}\n{note}\n{search.answer_table(answers, columns)}", flush=True)
    pictures = search.GalleryPictures(run, gallery, anywhere=FLAGS.pictures_anywhere)
    explanation = explain_best(explainer, gallery, asked, answers[0], pictures)
    if FLAGS.json:
        sizes = {"images": gallery.num_images, "captions": gallery.num_captions}
        facts = {"run": str(run), "similarity": gallery.similarity, "gallery": sizes}
        facts |= {"answers": [one._asdict() for one in answers]}
        facts |= {"explanation": explanation.facts()} if explanation else {}
        print(json.dumps({**asked.facts(), **facts}))
    elif explanation:
        print(explanation.table(columns))
    sys.stdout.flush()  # the answer is there before it is drawn
    if not (path := picture_path(run)):
        return
    if explanation:
        from answering import explanation_page

        explanation_page.draw_explanation(explanation, origin, path)
    else:
        from answering import drawing

        drawing.draw_answers(asked, answers, note, pictures, path)
        tell(pictures.complaint())
    hand_over(path)


def explain_best(explainer, gallery, asked, best, pictures):
    """Why the best answer is the best; None where nobody asks, or where it cannot be said."""
    if explainer is None:
        return None
    image = best.image if asked.is_text else asked.row
    picture = asked.picture if image is None else pictures(image)
    tell(pictures.complaint())
    if asked.is_text:
        row = gallery.image[best.image : best.image + 1]
        return explainer(best.name, asked.name, row, picture)
    try:
        return explainer(asked.name, best.caption, asked.vector, picture)
    except ValueError as error:  # such as a caption without a known word
        tell(f"the best caption is not explained: {error}")
        return None


def caption_picture(run, gallery, given):
    """Prints and draws captions that are written for a picture, or where the best one looked."""
    from answering import writing

    writer, row = writing.PictureWriter(run), search.find_image(run, gallery, given)
    if row is None:
        picture, name = load_picture(given), Path(given).name
    else:
        within = not FLAGS.pictures_anywhere
        picture = load_picture(gallery.pictures[row], run.data_folder(), within)
        name = gallery.image_names[row]
    captions = writer.write(picture, FLAGS.beam, FLAGS.rerank, FLAGS.normalise)
    kind = "mean log probability of a word" if FLAGS.normalise else "log probability"
    kind = "cosine to the picture" if FLAGS.rerank else kind
    note = f"written by {run} · score: {kind}"
    if not FLAGS.json:
        print(f"{console.printable(name)}\n{note}")
        for rank, caption in enumerate(captions, 1):
            print(f"{rank:4}  {caption.score:8.4f}  {caption.text}")
    explained = FLAGS.explain and captions and captions[0].ids
    looks = writer.looks(picture, captions[0]) if explained else []
    if FLAGS.json:
        told = [{"caption": caption.text, "score": caption.score} for caption in captions]
        facts = {"image": name, "run": str(run), "captions": told}
        facts |= {"attention": [[one.word, one.shares.tolist()] for one in looks]} if looks else {}
        print(json.dumps(facts))
    sys.stdout.flush()
    if not (path := picture_path(run)):
        return
    if looks:
        writing.draw_looks(captions[0].text, f"{name} · {note}", picture, looks, path)
    else:
        writing.draw_captions(name, note, picture, captions, path)
    hand_over(path)


def tell(line):
    """A remark, if there is one: on standard error, so that standard output holds answers only."""
    if line:
        print(line, file=sys.stderr, flush=True)


def picture_path(run):
    """Where the picture goes; None where none is wanted.

    Raises:
      ValueError: its name does not end in .png.
    """
    if FLAGS.json and not FLAGS.output and not FLAGS.show:
        return None
    path = Path(FLAGS.output or run / ("explanation.png" if FLAGS.explain else "answer.png"))
    if path.suffix.lower() != ".png":
        raise ValueError(f"--output {path} must end in .png: the answer is drawn as PNG")
    files.check_output(FLAGS.output)
    return path


def hand_over(path):
    """Says where the picture lies, and opens it if that is wanted."""
    (tell if FLAGS.json else print)(f"picture: {path}")
    if not FLAGS.show:
        return
    try:
        console.open_file(path)
    except OSError as error:
        tell(f"the system's viewer did not start ({error.strerror}): open {path} yourself")


def check_flags(argv):
    """Refuses flags that contradict each other. Raises ValueError."""
    if FLAGS.image is not None and len(argv) > 1:
        raise ValueError("give a sentence or --image, not both")
    if FLAGS.caption and FLAGS.image is None:
        raise ValueError("--caption: of which picture? Give --image FILE_OR_ID")
    for name in ("rerank", "normalise"):
        if FLAGS[name].value and not FLAGS.caption:
            raise ValueError(f"--{name} is of captions that are written: give --caption, too")
    if FLAGS.rerank and FLAGS.normalise:
        raise ValueError("--rerank and --normalise order captions differently: choose one")


def main(argv):
    """Run folder + a sentence or a picture -> table and picture."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # no byte and no character ends the program
            stream.reconfigure(errors=errors)
    check_flags(argv)
    run = folder.find(FLAGS.exp_root, FLAGS.exp)
    picture_path(run)  # a name that cannot be used is refused first
    gallery, explainer = Gallery(run), None
    if FLAGS.caption:
        caption_picture(run, gallery, FLAGS.image)
        return
    if FLAGS.explain:
        from answering import explain

        parts = (run, gallery, search.QueryEncoder(run))
        explainer = explain.Explainer(*parts, FLAGS.explain_grid, tell)
    if FLAGS.image is not None:
        asked = search.ask_picture(run, gallery, FLAGS.image, explainer and explainer.pictures)
        answer(run, gallery, asked, explainer)
        return
    encoder = explainer.encoder if explainer else search.QueryEncoder(run)
    if len(argv) > 1:
        answer(run, gallery, search.ask_sentence(encoder, " ".join(argv[1:])), explainer)
        return
    for query in console.read_queries("query: "):
        try:
            answer(run, gallery, search.ask_sentence(encoder, query), explainer)
        except ValueError as error:
            tell(f"{error}")


if __name__ == "__main__":
    console.run_script(
        lambda: options.start_script(main, str(__doc__), SECTIONS, sys.argv), keras=False
    )

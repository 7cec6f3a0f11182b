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

import contextlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from shutil import get_terminal_size

import numpy as np
from absl import app, flags

from answering import search
from gallery import stored
from run import console, heat, options, recipes
from run.folder import find

FLAGS = flags.FLAGS
options.define_experiment_flags()
flags.DEFINE_integer("k", 10, "How many answers.", lower_bound=1)
flags.DEFINE_string(
    "image",
    None,
    "Find captions for this picture: an image of the gallery, by its name or its number (from 0), "
    "or a picture file.",
)
flags.DEFINE_bool("caption", False, "With --image: write captions of the picture.")
flags.DEFINE_integer("beam", 5, "With --caption: width of the beam, and how many are shown.", 1)
flags.DEFINE_bool(
    "rerank", False, "With --caption: of a beam of 100 those that are nearest to the picture."
)
flags.DEFINE_bool(
    "normalise",
    False,
    "With --caption: compare the means of a caption's log probabilities, not their sums, which "
    "favour short ones.",
)
flags.DEFINE_bool(
    "explain",
    False,
    "Say why the best answer is the best: what each word and each place of the picture contributes "
    "to the score.",
)
flags.DEFINE_integer(
    "explain_grid",
    7,
    "With --explain: places of the patch along a side of the picture. More are finer and slower.",
    lower_bound=2,
    upper_bound=64,
)
flags.DEFINE_string(
    "output",
    None,
    "Where the picture goes. Default: answer.png, or explanation.png, in the run folder.",
)
flags.DEFINE_bool("show", False, "Open the picture with the system's viewer.")
flags.DEFINE_bool("json", False, "Print JSON, one line a query; draw only with --output or --show.")
flags.adopt_module_key_flags(options)


def answer_query(run, gallery, encoder, query, explainer=None):
    """Prints and draws the nearest pictures of a sentence, or why the first of them is."""
    vector = encoder.encode([query])
    unknown = encoder.unknown(query)
    if unknown:
        tell(f"not known to the model: {console.some_words(unknown)}")
    answers = search.nearest_images(gallery, vector, FLAGS.k)
    note = f"{len(answers):,} nearest of {gallery.num_images:,} pictures · {origin(run, gallery)}"
    facts = {"query": query, "unknown_words": unknown}

    def explain():
        if explainer is None:
            return None
        best = answers[0]
        row = gallery.image[best.image : best.image + 1]
        return explainer(best.name, query, row, load_pictures(run, [best.picture])[0])

    explanation = print_answers(run, gallery, answers, note, facts, explain)
    if not (path := picture_path(run)):
        return
    if explanation:
        draw_explanation(explanation, origin(run, gallery), path)
        return
    from run import figures

    shown = answers[: figures.MOST_ANSWERS]
    pictures = load_pictures(run, [answer.picture for answer in shown])
    cards = [
        figures.Card(answer.score, console.printable(answer.caption), picture)
        for answer, picture in zip(shown, pictures, strict=True)
    ]
    note += f" · the first {len(shown)}" if len(shown) < len(answers) else ""
    note += f" · not known: {console.some_words(unknown)}" if unknown else ""
    figures.picture_grid(console.printable(query), console.printable(note), cards, path)
    hand_over(path)


def answer_image(run, gallery, given, explainer=None):
    """Prints and draws the nearest captions of a picture, or why the first of them is."""
    row = find_row(run, gallery, given)
    if row is None:
        vector, picture = describe_file(run, given, explainer and explainer.pictures)
        name = Path(given).name
    else:
        vector, picture = gallery.image[row : row + 1], None
        name = gallery.image_names[row]
    answers = search.nearest_captions(gallery, vector, FLAGS.k, row)
    note = f"{len(answers):,} nearest of {gallery.num_captions:,} captions · {origin(run, gallery)}"

    def shown():
        return picture if row is None else load_pictures(run, [gallery.pictures[row]])[0]

    def explain():
        try:
            return explainer and explainer(name, answers[0].caption, vector, shown())
        except ValueError as error:  # such as a caption without a known word
            tell(f"the best caption is not explained: {error}")

    facts = {"image": name}
    explanation = print_answers(run, gallery, answers, note, facts, explain)
    if not (path := picture_path(run)):
        return
    if explanation:
        draw_explanation(explanation, origin(run, gallery), path)
        return
    from run import figures

    cards = [
        figures.Card(answer.score, console.printable(answer.caption), own=answer.own)
        for answer in answers[: figures.MOST_ANSWERS]
    ]
    note += f" · the first {len(cards)}" if len(cards) < len(answers) else ""
    note += " · blue: written for this picture" if any(card.own for card in cards) else ""
    figures.caption_list(console.printable(name), console.printable(note), shown(), cards, path)
    hand_over(path)


def write_captions(run, gallery, given):
    """Prints and draws captions that are written for a picture, or where the best one looked."""
    from answering import writing
    from data import datasets

    writer, row = writing.PictureWriter(run), find_row(run, gallery, given)
    if row is None:
        picture, name = datasets.load_picture(given), Path(given).name
    else:
        name = gallery.image_names[row]
        picture = datasets.load_picture(gallery.pictures[row], picture_folder(run))
    captions = writer.write(picture, FLAGS.beam, FLAGS.rerank, FLAGS.normalise)
    kind = "mean log probability of a word" if FLAGS.normalise else "log probability"
    kind = "cosine to the picture" if FLAGS.rerank else kind
    note = f"written by {run} · score: {kind}"
    if not FLAGS.json:
        print(f"{console.printable(name)}\n{note}")
        for rank, caption in enumerate(captions, 1):
            print(f"{rank:4}  {caption.score:8.4f}  {caption.text}")
    looks, frames = [], np.zeros((0, 4))
    if FLAGS.explain and captions and captions[0].ids:
        shares, frames = writer.looks(picture, captions[0])
        looks = list(zip(captions[0].text.split(), shares, strict=True))
    if FLAGS.json:
        told = [{"caption": caption.text, "score": caption.score} for caption in captions]
        facts = {"attention": [[word, own.tolist()] for word, own in looks]} if looks else {}
        print(json.dumps({"image": name, "run": str(run), "captions": told, **facts}))
    sys.stdout.flush()
    if not (path := picture_path(run)):
        return
    from run import figures

    if looks:
        lit = [
            figures.Card(own.max(), word, heat.spotlight(picture, frames, own))
            for word, own in looks
        ]
        best, note = captions[0].text, f"{name} · {note} · light: where each word looked"
        figures.picture_grid(best, console.printable(note), lit, path, ranked=False)
    else:
        cards = [figures.Card(caption.score, caption.text) for caption in captions]
        figures.caption_list(console.printable(name), note, picture, cards, path)
    hand_over(path)


def draw_explanation(explanation, note, path):
    """Draws what words and places contribute."""
    from run import figures

    words = [(console.printable(word.text), *word[1:]) for word in explanation.words]
    note = console.printable(f"{explanation.image} · score {explanation.score:.4f} · {note}")
    sentence = console.printable(explanation.sentence)
    figures.explanation(sentence, note, explanation.picture, explanation.places, words, path)
    hand_over(path)


# The picture that is asked with.


def find_row(run, gallery, given):
    """The gallery's row that --image means, or None for a picture file.

    Raises:
      ValueError: it is neither.
    """
    row = gallery.find_image(given)
    if row is not None:
        return row
    path = Path(given)
    if os.path.isfile(given):
        row = gallery.find_image(path.name)
        if row is None or not gallery.pictures[row]:
            return row  # of the same name in a gallery without pictures: taken for the same
        own = picture_folder(run) / gallery.pictures[row]
        return row if os.path.isfile(own) and os.path.samefile(own, path) else None
    if re.fullmatch("[0-9]{1,15}", given) and int(given) < gallery.num_images:
        return int(given)
    names = ", ".join(itertools.islice(gallery.image_names, 3))
    raise ValueError(
        f"--image {given} is neither a picture file nor an image of the gallery: its "
        f"{gallery.num_images:,} images are called {names} ..., or go by number from 0"
    )


def describe_file(run, given, encoder=None):
    """Embedding (1, D) and picture of a file that is not in the gallery.

    Args:
      run: the run folder; given: the file; encoder: the run's PictureEncoder, where it is open.

    Raises:
      ValueError: the file cannot be read, or the run cannot describe pictures.
    """
    from answering.pictures import PictureEncoder
    from data import datasets

    try:
        encoder = encoder or PictureEncoder(run)
    except ValueError as error:
        raise ValueError(
            f"{given} is not in the gallery, and {error}; ask with an image of the gallery, by "
            "name or number"
        ) from error
    picture = datasets.load_picture(given)
    return encoder([picture]), picture


def picture_folder(run):
    """What the run's picture references start from: the folder of its data."""
    folder = Path(recipes.load_settings(run.config).data_dir or "")
    return folder.parent if folder.is_file() else folder


def load_pictures(run, references):
    """Pictures, None for each that is missing or damaged; those are counted in one line."""
    if not any(references):
        return [None] * len(references)
    from data import datasets

    folder, pictures, missing = picture_folder(run), [], []
    for reference in references:
        try:
            pictures.append(datasets.load_picture(reference, folder) if reference else None)
        except (ValueError, OSError) as error:
            pictures.append(None)
            missing.append(str(error))
    if missing:
        more = f" (and {len(missing) - 1} more like this)" if len(missing) > 1 else ""
        tell(f"{missing[0]}{more}; the captions stand for them")
    return pictures


# What is handed over.


def tell(line):
    """A remark: on standard error, so that standard output holds answers only."""
    print(line, file=sys.stderr, flush=True)


def origin(run, gallery):
    """The run, and how it compares where that is not the cosine."""
    kind = gallery.similarity
    return f"{run}" if kind == "cosine" else f"{run} · {kind} similarity"


def print_answers(run, gallery, answers, note, query, explain):
    """The answers on standard output, as a table or as one line of JSON.

    Args:
      explain: gives an explanation of the best answer, which may take a while, or None.

    Returns:
      What it gave.
    """
    columns = get_terminal_size((120, 24)).columns  # 120 where there is no terminal
    if not FLAGS.json:
        asked = console.printable(next(iter(query.values())))
        print(
            f"{console.cut(asked, columns)}\n{note}\n{search.table(answers, columns)}", flush=True
        )
    explanation = explain()
    if FLAGS.json:
        sizes = {"images": gallery.num_images, "captions": gallery.num_captions}
        facts = {"run": str(run), "similarity": gallery.similarity, "gallery": sizes}
        facts |= {"answers": [answer._asdict() for answer in answers]}
        facts |= {"explanation": explanation.facts()} if explanation else {}
        print(json.dumps({**query, **facts}))
    elif explanation:
        print(explanation.table(columns))
    sys.stdout.flush()  # the answer is there before it is drawn
    return explanation


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
    return path


def hand_over(path):
    """Says where the picture lies, and opens it if that is wanted."""
    (tell if FLAGS.json else print)(f"picture: {path}")
    if not FLAGS.show:
        return
    try:
        if sys.platform == "win32":
            os.startfile(path)
        else:
            viewer = "open" if sys.platform == "darwin" else "xdg-open"
            subprocess.Popen(
                [viewer, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
    except OSError as error:
        tell(f"the system's viewer did not start ({error.strerror}): open {path} yourself")


def read_queries():
    """Lines of standard input; asks for them where someone sits at a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield from (line.rstrip("\r\n") for line in sys.stdin)
        return
    with contextlib.suppress(ImportError):  # Windows has none
        import readline  # noqa: F401 - gives input() its history

    while True:
        try:
            yield input("query: ")
        except EOFError:
            print()
            return


def main(argv):
    """Run folder + a sentence or a picture -> table and picture."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # no byte and no character ends the program
            stream.reconfigure(errors=errors)
    if FLAGS.image is not None and len(argv) > 1:
        raise ValueError("give a sentence or --image, not both")
    if FLAGS.caption and FLAGS.image is None:
        raise ValueError("--caption: of which picture? Give --image FILE_OR_ID")
    for name in ("rerank", "normalise"):
        if FLAGS[name].value and not FLAGS.caption:
            raise ValueError(f"--{name} is of captions that are written: give --caption, too")
    if FLAGS.rerank and FLAGS.normalise:
        raise ValueError("--rerank and --normalise order captions differently: choose one")
    run = find(FLAGS.exp_root, FLAGS.exp)
    picture_path(run)  # a name that cannot be used is refused first
    gallery, explainer = stored.Gallery(run), None
    if FLAGS.caption:
        write_captions(run, gallery, FLAGS.image)
        return
    if FLAGS.explain:
        from answering import explain

        parts = (run, gallery, search.QueryEncoder(run))
        explainer = explain.Explainer(*parts, FLAGS.explain_grid, tell)
    if FLAGS.image is not None:
        answer_image(run, gallery, FLAGS.image, explainer)
        return
    encoder = explainer.encoder if explainer else search.QueryEncoder(run)
    if len(argv) > 1:
        answer_query(run, gallery, encoder, " ".join(argv[1:]), explainer)
        return
    for query in read_queries():
        try:
            answer_query(run, gallery, encoder, query, explainer)
        except ValueError as error:
            tell(f"{error}")


if __name__ == "__main__":
    console.run_script(lambda: app.run(main))

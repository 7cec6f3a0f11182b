r"""Finds images for a sentence, or captions for an image, in the split that test.py scored last.

    python retrieve.py "a small blue triangle above an orange star"
    python retrieve.py "a small blue triangle above an orange star" --explain    # of the best image
    python retrieve.py "a red circle" --minus "a blue star" --like test-00012
    python retrieve.py --image test-00012        # an image of the gallery: the nearest captions
    python retrieve.py --image FILE --caption    # writes captions; runs of --model joint
    python retrieve.py                           # reads queries line by line
    python retrieve.py --pictures FOLDER "a dog on the beach"     # your own pictures
    python retrieve.py --pictures FOLDER --image FILE             # pictures like this one
    python retrieve.py --pictures FOLDER --caption > captions.csv
    python retrieve.py --serve                   # a page in the browser; also with --pictures

Prints a table and draws answer.png in the run's folder. Never imports TensorFlow.

--explain tells how the score of the best result changes without each word, and with each region of
the image covered by its mean colour. A change below 0 means that the word or region supports the
match. For a written caption it shows the attention of each word. It draws explanation.png.
"""

import run.quiet  # noqa: F401 - first, so that Ctrl-C is one line from here on

import io
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size

from absl import flags

from answering import search
from data.pictures import load_picture
from gallery.stored import Gallery
from run import console, files, folder
from run.folder import INDEX_FACTS, RunOptions
from settings import options
from settings.options import Options, option

FLAGS = flags.FLAGS


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
    pictures: str | None = option(
        None,
        "Search this folder of pictures, and all folders in it, instead of the run's split. They "
        "are described once; later starts describe only what is new or changed.",
    )
    index: str | None = option(
        None,
        "With --pictures: folder in which the descriptions are kept. Without the flag: in the "
        "run's folder.",
    )
    caption: bool = option(
        False,
        "With --image: write new captions of the image (--model joint). With --pictures: write one "
        "for each picture, as CSV or with --json as JSON lines, to --output or standard output.",
    )
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
    plus: tuple[str, ...] = option(
        (), "Another sentence that the images should fit, too. May be given several times."
    )
    minus: tuple[str, ...] = option(
        (), "A sentence that the images should not fit. May be given several times."
    )
    minus_weight: float = option(
        0.5, "Weight of what --minus takes away; the sentences count 1.", least=0, most=10
    )
    like: tuple[str, ...] = option(
        (),
        "An image that the images should resemble: its name or number in the gallery, or an "
        "image file. May be given several times, with or without a sentence.",
    )
    spelling: bool = option(
        True,
        "Read a word that the model does not know as the nearest that it knows: another "
        "singular or plural, or one letter missing, added, wrong or swapped.",
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
    exact: bool = option(False, "Compare all images, though there is an index (test.py --index).")
    engine: str | None = option(
        None,
        "Ask a database instead of the run's own gallery: milvus, filled by test.py --export "
        "milvus.",
        choices=("milvus",),
    )
    uri: str | None = option(
        None,
        "With --engine milvus: a local file that ends in .db, or a server's address. Without the "
        "flag: milvus.db in the run's folder.",
    )
    output: str | None = option(
        None,
        "File for the picture. Without the flag: answer.png or explanation.png in the run's "
        "folder. With --pictures and --caption: file for the captions.",
    )
    pictures_anywhere: bool = option(
        False,
        "Also open images outside the folder of the run's data. Only for a run that you trust.",
    )
    show: bool = option(False, "Open the picture, or with --serve the page.")
    json: bool = option(
        False, "Print JSON, one line a query. A picture is drawn only with --output or --show."
    )


@dataclass(frozen=True)
class PageOptions(Options):
    """Whether a page is served, and where."""

    title = "Page"
    serve: bool = option(
        False, "Serve a page that asks the run in the browser; --show opens it. Ctrl-C ends it."
    )
    port: int = option(8000, "With --serve: its port. 0: a free one.", least=0, most=65535)
    host: str = option(
        "127.0.0.1",
        "With --serve: address to listen at. Another than this machine's own loopback needs a "
        "password.",
    )
    password: str | None = option(
        None,
        "With --serve: password that the page asks for, with any user name. Other users of this "
        "machine may read it in the list of processes: see --password_file.",
    )
    password_file: str | None = option(None, "With --serve: file whose first line is the password.")


PAGE_TAKES = ("k", "pictures", "index", "pictures_anywhere", "show")  # of AskOptions
SECTIONS = (RunOptions, AskOptions, PageOptions)
for _section in SECTIONS:
    options.define(_section, FLAGS)


def answer(run, gallery, asked, explainer=None, judge=None):
    """Prints and draws the nearest results of a query, or an explanation of the best one.

    Args:
      run: a `Run` that test.py has scored; gallery: its `Gallery`, or an `Album`.
      asked: the query, of `search.ask_sentence` or `search.ask_picture`.
      explainer: `explain.Explainer`, or None without --explain.
      judge: `judging.Judge` of answers from an album, or None.
    """
    for line in asked.wording.remarks:
        tell(line)
    if asked.unknown:
        tell(f"not known to the model: {console.some_words(asked.unknown)}")
    answers, note = asked.nearest(gallery, FLAGS.k)
    answers, fits = search.judge(gallery, asked, answers)
    kind = "" if gallery.similarity == "cosine" else f" · {gallery.similarity} similarity"
    origin = f"{run}{kind}"
    note = f"{note}{search.count_fits(answers, fits)} · {origin}"
    verdict = judge.judge(asked, answers) if judge else None
    if verdict:
        answers, note = verdict.answers, f"{note} · {verdict.told()}"
    columns = get_terminal_size((120, 24)).columns  # 120 where there is no terminal
    if not FLAGS.json:
        title = console.cut(console.printable(asked.name), columns)
        print(f"{title}\n{note}\n{search.answer_table(answers, columns)}", flush=True)
    pictures = search.GalleryPictures(run, gallery, anywhere=FLAGS.pictures_anywhere)
    explanation = explain_best(explainer, gallery, asked, answers[0], pictures)
    if FLAGS.json:
        sizes = {"images": gallery.num_images, "captions": gallery.num_captions}
        facts = {"run": str(run), "similarity": gallery.similarity, "gallery": sizes}
        if asked.is_text and gallery.index:
            facts |= {"index": gallery.index.facts}
        facts |= {"fitting": None if fits is None else int(fits.sum())}
        facts |= {"answers": [one._asdict() for one in answers]}
        facts |= {"explanation": explanation.facts()} if explanation else {}
        facts |= {"fit": verdict.facts()} if verdict else {}
        print(json.dumps({**asked.facts(), **facts}))
    elif explanation:
        print(explanation.table(columns))
    sys.stdout.flush()  # the answer is there before it is drawn
    if not (path := picture_path(run)):
        return
    if explanation:
        from answering import explanation_page

        read = f" · read as {readings}" if (readings := asked.wording.readings()) else ""
        explanation_page.draw_explanation(explanation, origin + read, path)
    else:
        from answering import drawing

        drawing.draw_answers(asked, answers, note, pictures, path)
        tell(pictures.complaint())
    hand_over(path)


def ask_text(run, gallery, encoder, sentence):
    """A sentence, or None, with --plus, --minus and --like as the gallery is asked with them."""
    asked = options.read(AskOptions, FLAGS)
    if not (asked.plus or asked.minus or asked.like):
        minus = gallery.similarity == "cosine"
        return search.ask_sentence(encoder, sentence, asked.spelling, minus)
    from answering import mixing

    chosen = (sentence, asked.plus, asked.minus, asked.like, asked.minus_weight)
    mixture = mixing.Mixture(*chosen)
    return mixing.ask_mixture(run, gallery, encoder, mixture, asked.spelling)


def open_gallery(run):
    """The run's gallery, with what finds images in it where that is not all by itself."""
    if FLAGS.engine or (
        (run / INDEX_FACTS).is_file() and not FLAGS.exact and FLAGS.pictures is None
    ):
        from answering import engines

        return engines.open_engine(run, FLAGS.engine, FLAGS.uri, tell)
    return Gallery(run)


def explain_best(explainer, gallery, asked, best, pictures):
    """The explanation of the best result, or None without --explain or if there is none."""
    if explainer is None:
        return None
    image = best.image if asked.is_text else asked.row
    picture = asked.picture if image is None else pictures(image)
    tell(pictures.complaint())
    if asked.is_text:
        row = gallery.image[best.image : best.image + 1]
        return explainer(best.name, asked.wording.text, row, picture)
    try:
        return explainer(asked.name, best.caption, asked.vector, picture)
    except ValueError as error:  # such as a caption without a known word
        tell(f"the best caption is not explained: {error}")
        return None


def caption_picture(run, gallery, given):
    """Prints and draws captions that the model writes for an image; with --explain attention.

    Args:
      given: name or number of an image in the gallery, or an image file.
    """
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


def caption_folder(run):
    """Writes a caption for each picture of a folder."""
    from answering.albums import captions

    files.check_output(FLAGS.output)
    how = captions.Writing(FLAGS.beam, FLAGS.rerank, FLAGS.normalise)
    captions.write_folder(run, FLAGS.pictures, how, FLAGS.json, FLAGS.output, tell)


def tell(line):
    """Prints a remark, if there is one, to standard error: standard output holds results only."""
    if line:
        print(line, file=sys.stderr, flush=True)


def picture_path(run):
    """The file for the picture, or None if none is wanted.

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
    mixed = [f"--{name}" for name in ("plus", "minus", "like") if FLAGS[name].value]
    if FLAGS.image is not None and len(argv) > 1:
        raise ValueError("give a sentence or --image, not both")
    if FLAGS.image is not None and mixed:
        raise ValueError(
            f"--image asks for captions, {mixed[0]} for pictures: to find pictures like a "
            "picture, give --like instead of --image"
        )
    if FLAGS.engine and FLAGS.exact:
        raise ValueError("--exact compares all images of the run itself: leave --engine out")
    if FLAGS.uri is not None and not FLAGS.engine:
        raise ValueError("--uri is of a database: give --engine milvus, too")
    if FLAGS.pictures is not None and (FLAGS.engine or FLAGS.exact):
        raise ValueError("--pictures compares all pictures: leave --engine and --exact out")
    if FLAGS.explain and mixed:
        raise ValueError(f"--explain is of one sentence: leave {mixed[0]} out")
    if FLAGS.index is not None and FLAGS.pictures is None:
        raise ValueError("--index is of your own pictures: give --pictures FOLDER, too")
    if FLAGS.pictures is None:
        if FLAGS.caption and FLAGS.image is None:
            raise ValueError("--caption: of which picture? Give --image FILE_OR_ID, or --pictures")
    elif FLAGS.caption and (FLAGS.image is not None or len(argv) > 1 or FLAGS.explain or mixed):
        raise ValueError("--pictures with --caption captions all pictures: give nothing else")
    elif FLAGS.explain and FLAGS.image is not None:
        raise ValueError("--explain with --pictures explains a sentence: leave --image out")
    for name in ("rerank", "normalise"):
        if FLAGS[name].value and not FLAGS.caption:
            raise ValueError(f"--{name} is of captions that are written: give --caption, too")
    if FLAGS.rerank and FLAGS.normalise:
        raise ValueError("--rerank and --normalise order captions differently: choose one")
    for name in options.own_names(PageOptions):
        if FLAGS[name].present and name != "serve" and not FLAGS.serve:
            raise ValueError(f"--{name} is of the page: give --serve, too")


def serve_page(argv):
    """Serves the page until Ctrl-C. Raises ValueError: something is asked here, too."""
    here = [name for name in options.own_names(AskOptions) if FLAGS[name].present]
    here = [f"--{name}" for name in here if name not in PAGE_TAKES]
    if here or len(argv) > 1:
        raise ValueError(f"--serve asks on its page: leave {[*here, 'the sentence'][0]} out")
    from answering.page import server

    first = FLAGS.k if FLAGS["k"].present else None
    album = None
    if FLAGS.pictures is not None:
        from answering import albums

        run = folder.find(FLAGS.exp_root, FLAGS.exp)
        album = albums.open_album(run, FLAGS.pictures, FLAGS.index, tell)
    where = server.Place(FLAGS.host, FLAGS.port, FLAGS.password, FLAGS.password_file)
    how = {"anywhere": FLAGS.pictures_anywhere, "show": FLAGS.show, "album": album}
    server.serve(where, FLAGS.exp_root, FLAGS.exp, first, **how)


def main(argv):
    """Run folder + a sentence or a picture -> table and picture."""
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # no byte and no character ends the program
            stream.reconfigure(errors=errors)
    check_flags(argv)
    if FLAGS.serve:
        serve_page(argv)
        return
    run = folder.find(FLAGS.exp_root, FLAGS.exp)
    if FLAGS.caption and FLAGS.pictures is not None:
        caption_folder(run)
        return
    picture_path(run)  # a name that cannot be used is refused first
    judge = explainer = None
    asks = not FLAGS.caption and (FLAGS.explain or FLAGS.image is None)
    with ThreadPoolExecutor(1) as pool:  # the tower takes as long as the hash of a large gallery
        opening = pool.submit(lambda: search.QueryEncoder(run) if asks else None)
        gallery = open_gallery(run)
    encoder = opening.result()
    if FLAGS.pictures is not None:
        from answering import albums

        own, gallery = gallery, albums.open_album(run, FLAGS.pictures, FLAGS.index, tell)
        judge = albums.Judge(run, own, tell)
    if FLAGS.caption:
        caption_picture(run, gallery, FLAGS.image)
        return
    if FLAGS.explain and encoder:
        from answering import explain

        explainer = explain.Explainer(run, gallery, encoder, FLAGS.explain_grid, tell)
    if FLAGS.image is not None:
        asked = search.ask_picture(run, gallery, FLAGS.image, explainer and explainer.pictures)
        answer(run, gallery, asked, explainer)
        return
    if len(argv) > 1 or FLAGS.plus or FLAGS.like:
        sentence = " ".join(argv[1:]) if len(argv) > 1 else None
        answer(run, gallery, ask_text(run, gallery, encoder, sentence), explainer, judge)
        return
    for query in console.read_queries("query: "):
        try:
            answer(run, gallery, ask_text(run, gallery, encoder, query), explainer, judge)
        except ValueError as error:
            tell(f"{error}")


if __name__ == "__main__":
    console.run_script(
        lambda: options.start_script(main, str(__doc__), SECTIONS, sys.argv), keras=False
    )

"""Other people's libraries beside us, in one run, each in turn with ours.

    python -m lab.bench peers

They stand in an environment of their own, `.cache/peers` or the folder that MATCHBOX_PEERS names,
which is made on the first run; nothing of it is required by this toolkit. What cannot be installed
is left out, and said so. Each line first checks that both sides found the same.

Shape letters: B batch, D embedding, F feature, H units, M captions, N images.
"""

import os
import subprocess
import sys
import venv
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import metrics
from gallery import nearest
from lab.bench.building import build_compiled, compile_model, make_embeddings, step_of
from lab.bench.captions import FLICKR8K, baseline, draw_batches, facts, train_epochs
from lab.bench.timing import Line, bench, take_lines, temporary_folder
from lab.scripts import ROOT
from lab.settings import settings_of

TORCH = "torch==2.13.0"
PACKAGES = {  # module -> what pip is asked for; PyTorch stays as it is
    "torch": (TORCH,),
    "torchmetrics": ("torchmetrics", TORCH),
    "ranx": ("ranx",),
    "faiss": ("faiss-cpu",),
    "sentence_transformers": ("sentence-transformers", TORCH),
}
CLOSE = 1e-4  # relative difference of two float32 losses


def peers_python():
    """The peers' Python, whether it is there or not."""
    folder = Path(os.environ.get("MATCHBOX_PEERS") or ROOT / ".cache" / "peers")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def installed(python):
    """Which of PACKAGES an environment has."""
    if not python.is_file():
        return set()
    code = f"import importlib.util as u; print(*filter(u.find_spec, {list(PACKAGES)}))"
    return set(subprocess.check_output([python, "-c", code], text=True).split())


def install():
    """Makes the environment or completes it: the names in PACKAGES that are there then."""
    python = peers_python()
    if not python.is_file():
        venv.create(python.parents[1], with_pip=True)
    there = installed(python)
    for name in [name for name in PACKAGES if name not in there]:
        command = [python, "-m", "pip", "install", "-q", *PACKAGES[name]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip wrote no message"])[-1]
            print(f"peers: {name} cannot be installed, so it is left out: {last}", file=sys.stderr)
    return installed(python)


@contextmanager
def peer(at, task, **arrays):
    """Starts the peers' side of a task: a function that runs it once, one that tells its results.

    Raises:
      ValueError: the task failed there.
    """
    with temporary_folder() as folder:
        np.savez(f"{folder}/{task}.npz", **arrays)
        side = Path(__file__).with_name("peer_side.py")
        command = [peers_python(), side, task, folder, str(at.threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as process:
            orders: Any = process.stdin
            answers: Any = process.stdout

            def wait_for(order):
                if order:
                    orders.write(f"{order}\n")
                    orders.flush()
                if answers.readline().strip() != "done":
                    raise ValueError(f"the peer's side of {task} failed, see above")

            def tell():
                wait_for("say")
                with np.load(f"{folder}/{task}.out.npz") as found:
                    return dict(found)

            wait_for("")
            yield partial(wait_for, "go"), tell
            orders.close()


def check_equal(what, ours, theirs, tolerance=CLOSE):
    """Raises ValueError where the two sides do not agree: then their times say nothing."""
    if not np.allclose(ours, theirs, rtol=tolerance, atol=0):
        raise ValueError(f"{what}: ours is {ours}, the peer's {theirs}; expected the same")


def compared_lines(at, functions, line, turns):
    """`take_lines` of ours and a peer; the processors' time of another process is not known."""
    return [found | {"by_cpu": None} for found in take_lines(at, functions, line, turns=turns)]


def ranks_by_sorting(image, text):
    """Ranks from 1 of captions' images and of images' best captions: a sort for each query.

    As VSE++ evaluates: captions stand five by five. Reference: Faghri et al., 2018, section 4.
    """
    own = len(text) // len(image)
    forward, backward = np.empty(len(text), np.int64), np.empty(len(image), np.int64)
    for row in range(len(image)):
        order = np.argsort(np.dot(text, image[row]))[::-1]
        places = [np.where(order == own * row + k)[0][0] for k in range(own)]
        backward[row] = min(places) + 1
        for query in range(own * row, own * (row + 1)):
            order = np.argsort(np.dot(image, text[query]))[::-1]
            forward[query] = np.where(order == row)[0][0] + 1
    return forward, backward


@bench(
    "peers", "PyTorch, torchmetrics, ranx, faiss, sentence-transformers, in their own environment",
    bounds="ratio >= 2", batch=128, images=1000, rows=6200, pairs=512, **FLICKR8K,
)  # fmt: skip
def beside_peers(at):
    """The GRU's training as VSE++, scoring {images} images, nearest rows, a step (minutes)."""
    there = install()
    if "torch" in there:
        yield from beside_vse(at)
    yield from beside_scoring(at, there)
    if "faiss" in there:
        yield from beside_faiss(at)
    if "sentence_transformers" in there:
        yield from beside_negatives(at)


def beside_vse(at):
    """Training at VSE++'s own setting beside a PyTorch loop of it: captions a second."""
    settings = baseline(at, batch_size=at.batch, loss="sum_hinge")
    count = settings.bucket * settings.batch_size
    batches = draw_batches(at, settings, count)
    model = build_compiled(settings, batches.steps_per_epoch, **facts(at))
    batch = batches.share(0, 0, 1)
    loss = float(model.compute_loss(batch, y_pred=model(batch), training=False))
    captions = batches.order.units_of(0)
    gru = next(layer for layer in model.text_tower.layers if hasattr(layer, "recurrent"))
    weights = {name: getattr(gru, name).numpy() for name in ("kernel", "recurrent", "bias")}
    weights["words"] = model.text_tower.get_layer("words").embeddings.numpy()
    weights["map"] = model.image_tower.weights[0].numpy()
    given = {
        "image": batches.vectors[batches.caption_image[captions]],
        "tokens": batches.tokens.pad(captions),
        "lengths": batches.tokens.lengths[captions].astype(np.int64),
        "size": settings.batch_size,
        "check": np.flatnonzero(np.isin(captions, batch["caption_id"])),
    }
    what = f"VSE++'s training, GRU of {at.embed:,} (peer: PyTorch)"
    line = Line(what, at.bounds, work=(count, count), unit="captions/s")
    with peer(at, "vse", **given, **weights) as (run, tell):
        check_equal("the loss of the first batch", loss, tell()["loss"])
        yield from compared_lines(at, [partial(train_epochs, model, batches), run], line, 3)


def beside_scoring(at, there):
    """Ranks beside VSE++'s loop of sorts; MRR and nDCG beside two libraries of metrics."""
    image, text, owner = make_embeddings(at.images, at.embed)
    size = f"{len(image):,} x {len(text):,}"
    forward, backward = ranks_by_sorting(image, text)
    ranks = metrics.rank_both(image, text, owner)
    check_equal("ranks", np.concatenate(ranks), np.concatenate([forward, backward]), 0)
    functions = [
        partial(metrics.rank_both, image, text, owner), partial(ranks_by_sorting, image, text)
    ]  # fmt: skip
    yield from compared_lines(
        at, functions, Line(f"ranks both ways, {size} (peer: VSE++'s sorts)"), 3
    )
    ours = metrics.evaluate(image, text, owner)["text_to_image"].values()
    scores = text @ image.T
    for name in ("torchmetrics", "ranx"):
        if name in there:
            with peer(at, name, scores=scores, own=owner) as (run, tell):
                run()
                theirs, said = tell(), f"{name}'s MRR and nDCG"
                check_equal(said, ours["mrr"].mean(), theirs["mrr"])
                check_equal(said, ours["ndcg@10"].mean(), theirs["ndcg"])
                line = Line(f"all metrics both ways, {size} (peer: {said})")
                functions = [partial(metrics.evaluate, image, text, owner), run]
                yield from compared_lines(at, functions, line, 1)  # theirs take long


def beside_faiss(at):
    """The ten nearest rows, of some queries at once and of one."""
    image, rows, _ = make_embeddings(at.rows, at.embed)
    for queries in (image[: at.images], image[:1]):
        with peer(at, "faiss", queries=queries, rows=rows) as (run, tell):
            run()
            found = nearest.top_k(queries, rows, 10)[1]
            # Two rows that are equal in float32 may stand in either order there.
            same = np.mean(found == tell()["rows"])
            if same < 0.99:
                raise ValueError(f"only {same:.1%} of faiss's nearest rows are ours")
            what = f"nearest 10 of {len(rows):,}, queries: {len(queries):,} (peer: faiss)"
            yield from compared_lines(
                at, [partial(nearest.top_k, queries, rows, 10), run], Line(what), 5
            )


def beside_negatives(at):
    """A step of two MLPs with the cross entropy of one direction."""
    import keras

    import losses
    import models
    from systems.engine.layers import UnitNorm
    from systems.engine.parts import Parts

    settings = settings_of("--schedule=constant", "--optimizer=adam", "--learning_rate=2e-4")
    loss = losses.build_loss("cross_entropy")  # its temperature is 1 / 20, as theirs
    loss.sides = ("image",)
    rng, towers = np.random.default_rng(0), []
    given = dict(
        zip(("image", "text"), rng.standard_normal((2, at.pairs, at.feature)), strict=True)
    )
    given = {side: rows.astype(np.float32) for side, rows in given.items()}
    for side in list(given):
        widths = (keras.Input((at.feature,)), keras.layers.Dense(at.embed, "relu"))
        towers.append(keras.Sequential([*widths, keras.layers.Dense(at.embed), UnitNorm()]))
        given |= {f"{side}{place}": towers[-1].layers[place].kernel.numpy() for place in (0, 1)}
    model = compile_model(models.DualEncoder(Parts(*towers), loss), settings, 1)
    batch = {"image": given["image"], "tokens": given["text"], "image_id": np.arange(at.pairs)}
    first = float(model.compute_loss(batch, y_pred=model(batch), training=False))
    what = f"step of two MLPs, {at.pairs:,} pairs (peer: sentence-transformers' loss)"
    with peer(at, "negatives", **given) as (run, tell):
        check_equal("the loss of the first step", first, tell()["loss"])
        yield from compared_lines(at, [step_of(model, batch), run], Line(what), 12)

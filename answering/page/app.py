"""The routes of the page: one document, and what its script asks for, as JSON.

| route | what |
|---|---|
| `/` | the page; its address says what is shown: `?run=NAME&q=SENTENCE&image=ROW` |
| `/api/run` | the run: sizes, examples, some of its pictures |
| `/api/ask` | the nearest pictures of a sentence |
| `/api/image` | a picture of the gallery: its captions and its neighbours |
| `/api/explain`, `/heat.png` | why a sentence and a picture match |
| `/api/picture` | the same for a picture that is posted; nothing of it is kept |
| `/tile.jpg`, `/picture.jpg` | pictures of the gallery, by their row, never by a path |
"""

from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import BadRequest, HTTPException, NotFound

from answering.page import tiles
from answering.page.guard import Guard
from answering.page.opened import OpenRun, Runs

HERE = Path(__file__).parent
MOST_ANSWERS = 200
KEPT = "private, max-age=3600"  # by the browser: the address of a picture has its run's version


def make_app(runs: Runs, guard: Guard, k: int = 24) -> Flask:
    """The application.

    Args:
      runs: that can be asked; guard: what is refused.
      k: answers on a page, before more are asked for.
    """
    app = Flask(__name__, template_folder=str(HERE), static_folder=str(HERE / "static"))
    app.config.update(MAX_CONTENT_LENGTH=tiles.MOST_BYTES, PROPAGATE_EXCEPTIONS=False)
    guard.watch(app)
    app.register_error_handler(Exception, say_error)

    def asked_run() -> OpenRun:
        return runs.open(request.args.get("run"))

    @app.get("/")
    def page() -> str:
        return render_template("page.html", runs=list(runs.named()), k=k, most=MOST_ANSWERS)

    @app.get("/api/run")
    def run_facts() -> Response:
        return jsonify(asked_run().about())

    @app.get("/api/ask")
    def ask() -> Response:
        return jsonify(asked_run().ask(request.args.get("q", ""), asked_k(k)))

    @app.get("/api/image")
    def look() -> Response:
        run = asked_run()
        return jsonify(run.look(asked_row(run), asked_k(k)))

    @app.get("/api/explain")
    def explain() -> Response:
        run = asked_run()
        return jsonify(run.explain(asked_row(run), request.args.get("q", ""))[0])

    @app.get("/heat.png")
    def heat() -> Response:
        run = asked_run()
        return picture_answer(
            run.explain(asked_row(run), request.args.get("q", ""))[1], "image/png"
        )

    @app.post("/api/picture")
    def look_at() -> Response:
        return jsonify(asked_run().look_at(request.get_data(cache=False), asked_k(k)))

    @app.get("/tile.jpg")
    def tile() -> Response:
        run = asked_run()
        return picture_answer(run.tile(asked_row(run)))

    @app.get("/picture.jpg")
    def picture() -> Response:
        run = asked_run()
        return picture_answer(run.picture(asked_row(run), tiles.LARGE))

    return app


def asked_row(run: OpenRun) -> int:
    """The row of the picture that a request is about. Raises BadRequest: there is none."""
    return _asked_number("image", 0, run.gallery.num_images - 1)


def asked_k(usual: int) -> int:
    """How many answers a request asks for. Raises BadRequest: too many."""
    return _asked_number("k", 1, MOST_ANSWERS) if "k" in request.args else usual


def _asked_number(name: str, least: int, most: int) -> int:
    given = request.args.get(name, "")
    if not (given.isascii() and given.isdigit() and len(given) < 16):
        raise BadRequest(f"{name}={given[:40]!r}: expected a number from {least} to {most:,}")
    if not least <= int(given) <= most:
        raise BadRequest(f"{name}={given}: expected a number from {least} to {most:,}")
    return int(given)


def picture_answer(data: bytes | None, kind: str = "image/jpeg") -> Response:
    """A picture as a response. Raises NotFound: there is none."""
    if data is None:
        raise NotFound("this picture is missing or damaged, or the data came without pictures")
    return Response(data, mimetype=kind, headers={"Cache-Control": KEPT})


def say_error(error: Exception) -> tuple[Any, int]:
    """What went wrong, in one line of JSON."""
    if isinstance(error, HTTPException):
        told = error.description or error.name
        if error.code == 413:
            told = f"the picture is larger than {tiles.MOST_BYTES >> 20} MB: send a smaller one"
        return jsonify(error=told), error.code or 500
    if isinstance(error, ValueError | OSError):
        return jsonify(error=(str(error).splitlines() or [type(error).__name__])[0]), 400
    raise error  # a fault of the program: Flask logs it and answers 500

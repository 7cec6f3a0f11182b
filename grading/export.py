"""A graded run's towers as ONNX files, which `retrieve.py` reads without TensorFlow.

    export_towers(run, model, settings)  # query.onnx, image.onnx; of a model that writes, two more

`grading/serving.py` writes the text tower for TensorFlow Serving.
"""

import logging
import sys
import warnings

import numpy as np

from run import files
from systems.engine.parts import export_onnx


def export_towers(run, model, settings):
    """Writes the towers; and the two steps of writing, where the model was trained to write.

    Args:
      run: `run.folder.Run`; model: a `models.DualEncoder`.
      settings: of the run: image_size where the tower reads pixels.
    """
    export_query(run, model)
    tower = model.encoder_models.image
    pictures = len(tower.input_shape) == 4
    side = settings.image_size if pictures else 3  # of boxes any number will do
    shape = (2, *(size or side for size in tower.input_shape[1:]))
    image = np.zeros(shape, np.uint8 if pictures else "f")
    write_onnx(tower, image, run.image_tower)
    if model.parts.writer is not None:
        for path, (step, example) in writing_steps(run, model, image).items():
            write_onnx(step, example, path)


def export_query(run, model):
    """Writes the text tower: (B, T) int32 ids -> (B, D) unit rows."""
    write_onnx(
        model.encoder_models.text, np.ones((2, 3), np.int32), run.query_tower,
        model.parts.export_text,
    )  # fmt: skip


def write_onnx(model, example, path, write=export_onnx):
    """Writes a Keras model as ONNX.

    Args:
      example: of its inputs, by which the number of their axes is known.
      write: (model, path) -> the file.
    """
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    model(example)  # Keras exports only what was called once
    with warnings.catch_warnings(), files.atomic_path(path) as temporary:
        warnings.filterwarnings("ignore", category=FutureWarning)
        write(model, temporary)


def writing_steps(run, model, boxes):
    """{path: (model, example of its inputs)} of `writer.use_models`, for boxes (2, R, F)."""
    first, following = model.parts.writer.models
    memory = first(boxes)
    unread = np.zeros((2, model.embed_dim), "f")
    numbers = (np.ones(2, np.int32), np.arange(2, dtype=np.int32))
    inputs = [*numbers, *memory[:4], unread, unread, *memory[4:]]
    inputs = [np.asarray(one) for one in inputs]
    return {run.first_step: (first, boxes), run.next_step: (following, inputs)}


def export_pictures(finished):
    """The network of retrieve.py --image FILE, a convenience that the score does without."""
    try:
        finished.descriptor.export(finished.settings)
    except ValueError as error:
        print(f"note: retrieve.py --image FILE will not work: {error}", file=sys.stderr)

"""A graded run's towers as ONNX files, which `retrieve.py` reads without TensorFlow.

export(run, model, settings)      # query.onnx, image.onnx; of a model that writes, two more
"""

import logging
import warnings

import numpy as np

from run import files


def export(run, model, settings):
    """Writes the towers; and the two steps of writing, where the model was trained to write.

    Args:
      run: `experiment.Run`; model: a `models.DualEncoder`.
      settings: of the run: image_size where the tower reads pixels.
    """
    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"keras\.src\.export")
    towers = model.encoder_models
    pictures = len(towers.image.input_shape) == 4
    side = settings.image_size if pictures else 3  # of boxes any number will do
    shape = (2, *(size or side for size in towers.image.input_shape[1:]))
    examples = {
        run.query_tower: (towers.text, np.ones((2, 3), np.int32)),
        run.image_tower: (towers.image, np.zeros(shape, np.uint8 if pictures else "f")),
    }
    if model.parts.writer is not None:
        examples |= writing_steps(run, model, examples[run.image_tower][1])
    for path, (tower, example) in examples.items():
        tower(example)  # Keras exports only what was called once
        with files.atomic_path(path) as temporary:
            if tower is towers.text:
                model.parts.export_text(tower, temporary)
            else:
                tower.export(temporary, format="onnx", verbose=False)


def writing_steps(run, model, boxes):
    """{path: (model, example of its inputs)} of `writer.use_models`, for boxes (2, R, F)."""
    first, following = model.parts.writer.models
    memory = first(boxes)
    unread = np.zeros((2, model.embed_dim), "f")
    numbers = (np.ones(2, np.int32), np.arange(2, dtype=np.int32))
    inputs = [*numbers, *memory[:4], unread, unread, *memory[4:]]
    inputs = [np.asarray(one) for one in inputs]
    return {run.first_step: (first, boxes), run.next_step: (following, inputs)}

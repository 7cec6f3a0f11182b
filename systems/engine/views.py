"""Two views of a side: its rows beside those of a second reading, as pairs.

The second view is the same tower's, in training mode, with another dropout; and of another input
where a batch brings one. Batch norm takes statistics of each view by itself.

Reference: Gao et al., SimCSE, 2021, section 3 (dropout alone makes the views).
"""

from systems.engine.heads import per_caption


def check_views(parts, weight, drawn):
    """Refuses a side of which nothing is random: both of its views would be equal.

    Args:
      parts: `Parts`; weight: of the two terms; drawn: sides whose batches bring a second input.

    Raises:
      ValueError: names the side.
    """
    for side, tower in (("image", parts.image), ("text", parts.text)):
        dropout = any(getattr(layer, "rate", 0.0) for layer in tower._flatten_layers())
        if side not in drawn and not dropout:
            raise ValueError(
                f"--views_weight {weight}: nothing on the {side} side of this model is random "
                "in training, so its two views would be equal; give it dropout (--dropout, "
                "--image_dropout, --word_dropout) or, of pixels, crops"
            )


def second_views(readers, batch, training):
    """{"image_view": (b, D), "text_view": (b, D)} float32 rows."""
    image = readers.image(batch.get("image_view", batch["image"]), training)["rows"]
    text = readers.text(batch.get("tokens_view", batch["tokens"]), training)["rows"]
    return {"image_view": per_caption(batch, image), "text_view": text}

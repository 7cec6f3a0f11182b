"""What is trained: all of a model, its heads, or one tower (`--train`). The rest is frozen.

A frozen layer has no gradient, no moments and no weight decay, and its batch norm uses
the statistics it has. Its dropout goes on.

Reference: Zhai et al., LiT, zero-shot transfer with locked-image text tuning, CVPR 2022 (one tower
  locked).
"""

import keras

TRAINED = ("all", "heads", "image", "text")


def last_layers(tower):
    """The last layers with weights on the ways to a tower's output, and the batch norms behind.

    Of the MLPs that is the last dense layer; of the GRU tower the GRU, or both of them and the bag
    of words beside them; of the dual path the last convolution or dense layer and its norm.

    Args:
      tower: a functional or sequential model; models within it are looked into.
    """
    found = []

    def walk(tensor):
        layer, node, _ = tensor._keras_history
        inner = isinstance(layer, keras.Model)
        norm = isinstance(layer, keras.layers.BatchNormalization)
        if getattr(layer, "weights", ()) and not inner:
            found.append(layer)
        if inner and layer.weights:
            return [walk(output) for output in layer.outputs]
        if norm or layer not in found:
            return [walk(one) for one in layer._inbound_nodes[node].input_tensors]
        return None

    for output in tower.outputs:
        walk(output)
    return found


def choose_trained(model, what):
    """Freezes the towers of a `DualEncoder` but for what `--train` names.

    What belongs to the loss (a classifier, a temperature) is trained whatever it is.

    Args:
      model: with image_tower and text_tower; what is frozen already stays so.
      what: one of TRAINED.

    Returns:
      The model.

    Raises:
      ValueError: there is no such choice.
    """
    if what not in TRAINED:
        raise ValueError(f"--train {what}: choose from {', '.join(TRAINED)}")
    towers = {"image": model.image_tower, "text": model.text_tower}
    for side, tower in towers.items():
        if what == "heads":
            kept = {id(layer) for layer in last_layers(tower)}
            for layer in tower._flatten_layers(include_self=False):
                # Layer by layer: a frozen model would freeze its head, too.
                own = layer._trainable_variables or layer._non_trainable_variables
                if own and id(layer) not in kept:
                    layer.trainable = False
        elif what not in ("all", side):
            tower.trainable = False
    return model

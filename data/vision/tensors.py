"""Which tensors of a network are read: each layer's, behind its activation.

Keras is imported where a network is split.
"""

READ = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense")
ACTIVATIONS = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU")
NORMS = ("BatchNormalization", "LayerNormalization")
# Between a layer and its activation there may be these ...
PASSED = (*NORMS, "Add", "ZeroPadding2D", "Dropout", "CustomScaleLayer")
# ... and between the last layer and the classifier, or behind that, these.
POOLS = ("GlobalAveragePooling2D", "Flatten", "Reshape", "Dropout")


def class_of(operation) -> str:
    """A layer's class; a group of layers with a convolution (ConvNeXt, KerasHub) counts as one."""
    name = type(operation).__name__
    inner = getattr(operation, "layers", None) or getattr(operation, "_layers", ())
    return "Conv2D" if any(type(layer).__name__ in READ for layer in inner) else name


def own_activation(layer) -> str:
    """The activation that a layer applies itself, "linear" for none."""
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", "linear")


def split_activations(model):
    """The same network, with each activation that a layer applies itself as a layer behind it."""
    import keras

    fused = {
        layer.name: own_activation(layer)
        for layer in model.layers
        if class_of(layer) in READ and own_activation(layer) != "linear"
    }
    if not fused:
        return model

    def copy(layer):
        changed = {"activation": "linear"} if layer.name in fused else {}
        return type(layer).from_config(layer.get_config() | changed)

    def call(layer, *inputs, **options):
        output = layer(*inputs, **options)
        if layer.name not in fused:
            return output
        return keras.layers.Activation(fused[layer.name], name=f"{layer.name}_activation")(output)

    split = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for layer in model.layers:  # by name: the order may be another one
        if layer.weights:
            split.get_layer(layer.name).set_weights(layer.get_weights())
    return split


def find_layers(model, has_top: bool, pre_activation: bool = False):
    """The tensors to read, each once, in the network's order.

    Each convolution (depthwise and separable ones too) and dense layer is read behind its
    activation: forward over normalisation, additions and padding until there is one. Where none
    follows (linear bottlenecks) it is read behind its normalisation. The classifier is left out.

    Args:
      model: a network of `keras.applications`.
      has_top: whether it has its classifier.
      pre_activation: read layers' own outputs, for networks whose layers apply no activation
        themselves (`split_activations`).

    Returns:
      ({name: tensor}, the last tensor before the classifier).

    Reference: sections 3.1 and 4.2 of the paper; its analysis file names the layers relu1_1 to
      relu7.
    """
    consumers: dict[int, list] = {}
    for operation in model.operations:
        for node in operation._inbound_nodes:
            for tensor in node.input_tensors:
                consumers.setdefault(id(tensor), []).append((operation, node.outputs[0]))
    last, classifier = model.output, None
    if has_top:
        classifier = _producer(_back(last, (*ACTIVATIONS, *POOLS)))
        last = classifier.input
    found = {}
    for layer in model.layers:
        if class_of(layer) not in READ or layer is classifier:
            continue
        read = layer.output
        if not pre_activation and own_activation(layer) == "linear":
            read = _behind_activation(read, consumers)
        found.setdefault(id(read), read)
    return {_producer(t).name: t for t in found.values()}, _back(last, POOLS)


def _producer(tensor):
    return tensor._keras_history.operation


def _back(tensor, over):
    """The nearest tensor before this one that no layer of these classes made."""
    while class_of(_producer(tensor)) in over:
        tensor = _producer(tensor).input
    return tensor


def _behind_activation(output, consumers):
    """Where a linear layer's output is read."""
    normal, todo = output, [output]
    while todo:
        tensor = todo.pop(0)
        for operation, made in consumers.get(id(tensor), ()):
            name = class_of(operation)
            if name in ACTIVATIONS and own_activation(operation) != "softmax":
                return made
            if name in PASSED:
                todo.append(made)
            if name in NORMS and tensor is normal:
                normal = made
    return normal

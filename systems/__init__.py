"""The systems: each a folder with a sheet; `engine` holds the Keras parts that they share.

`SYSTEMS` is the only list of them. A sheet imports no Keras; of a system that was not chosen
nothing but its sheet is executed.
"""

SYSTEMS = {
    "projection": "systems.projection.sheet",
    "gru": "systems.gru.sheet",
    "dual_path": "systems.dual_path.sheet",
    "transformer": "systems.transformer.sheet",
    "joint": "systems.joint.sheet",
}

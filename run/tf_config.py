"""TF_CONFIG, the environment variable that says which workers train together."""

import os

from run import files


def worker_addresses():
    """Addresses of all workers, by TF_CONFIG, which `worker_index` checks."""
    worker_index()
    return [
        str(one)
        for one in files.parse_json(os.environ["TF_CONFIG"], "TF_CONFIG")["cluster"]["worker"]
    ]


def worker_index():
    """Number of this process among the workers, from 0, by TF_CONFIG.

    Raises:
      ValueError: TF_CONFIG is missing or is not what tf.distribute reads.
    """
    try:
        cluster = files.parse_json(os.environ["TF_CONFIG"], "TF_CONFIG")
        workers, index = cluster["cluster"]["worker"], int(cluster["task"]["index"])
        kinds = {*cluster["cluster"], cluster["task"].get("type", "worker")}
        valid = 0 <= index < len(workers) and kinds == {"worker"}
    except (KeyError, TypeError, ValueError):
        valid, index = False, 0
    if not valid:
        raise ValueError(
            "--strategy multi_worker needs the environment variable TF_CONFIG, such as "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            '"task": {"type": "worker", "index": 0}}'
        )
    return index

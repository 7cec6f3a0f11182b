"""Scripts tried as a user runs them: that they succeed, or refuse in one line; and two workers."""

import csv
import json
import socket

import numpy as np
import starter

from data.language import words
from run.files import PackedStrings, open_arrays


def script(name, *arguments, cwd):
    """Runs a script from another folder, as a user may."""
    # Queries start without TensorFlow.
    start = starter.anew if name == "retrieve.py" else starter.run
    return start(name, *arguments, cwd=cwd)


def succeed(name, *arguments, cwd, start=script):
    """What a script tells that ends well."""
    done = start(name, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return done.stdout


def fail(name, *arguments, cwd, says):
    """The script refuses in one clear line, without a traceback, and with a non-zero exit."""
    done = script(name, *arguments, cwd=cwd)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert len(lines) == 1 and says in lines[0], done.stderr
    return lines[0]


def check_query_tower(run):
    """The exported text tower gives the rows that were scored."""
    import onnxruntime

    arrays = open_arrays(run.projections)
    captions = PackedStrings(arrays["captions_data"], arrays["captions_offsets"])
    vocabulary = words.Vocabulary.load(run.vocabulary)
    session = onnxruntime.InferenceSession(run.query_tower)
    for row, caption in enumerate(captions):
        tokens = np.array([vocabulary.encode(caption)], np.int32)
        found = session.run(None, {session.get_inputs()[0].name: tokens})[0]
        np.testing.assert_allclose(found[0], arrays["text"][row], atol=1e-5)


def read_history(run):
    """Rows of a run's history.csv, one for each epoch."""
    with open(run.history, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_workers(name, *arguments, cwd):
    """Runs a script in two processes that know each other by TF_CONFIG, on loopback."""
    for done in [one.finish(380) for one in start_workers(name, arguments, arguments, cwd=cwd)]:
        assert done.returncode == 0, done.stderr[-3000:]


def start_workers(name, *each, cwd):
    """Starts a script once for each list of arguments, as workers."""
    started, workers = [], free_addresses(len(each))
    for index, arguments in enumerate(each):
        cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        started.append(starter.Started(name, *arguments, cwd=cwd, TF_CONFIG=json.dumps(cluster)))
    return started


def free_addresses(count):
    """Addresses on loopback that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    found = [f"127.0.0.1:{item.getsockname()[1]}" for item in sockets]
    for item in sockets:
        item.close()
    return found

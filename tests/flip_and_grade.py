"""Damages files of finished runs at random; nothing may then be wrong in silence.

PYTHONPATH=. python tests/flip_and_grade.py 200              # flips or cuts, for each system
PYTHONPATH=. python tests/flip_and_grade.py 50 gru joint 3   # of some, drawn with seed 3

Each damage hits one file of the run, its first phase, its cache or its data; every second one keeps
the file's time. Then the run is verified, asked, resumed and graded, without drawing and exporting
anew. What resuming must leave and grading must give is what they do without damage.
"""

import os
import random
import runpy
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import starter
import tiny_data
from PIL import Image

from run import manifest

SMALL = [
    "--exp=run", "--cache_dir=cache", "--threads=1", "--epochs=2", "--embed_dim=16",
    "--hidden_dim=16", "--batch_size=32",
]  # fmt: skip
PIXELS = ["--image_size=32", "--image_pooling=mean"]
TWO_PHASES = ["--first_phase=joint_scenes_rank", "--rank_weight=0", "--limit=16", "--max_length=6"]
SYSTEMS = {
    "projection": ["--data=csv", "--data_dir=data"],
    "gru": ["--recipe=ph", "--data=precomp", "--data_dir=data", "--word_dim=8"],
    "dual_path": [
        "--recipe=dual_path_scenes", "--data=csv", "--data_dir=data", "--cnn=resnet_8",
        "--text_width=0.02", "--word_dim=8", "--cache=disk", "--test_shifts=1", "--classes=images",
        *PIXELS,
    ],
    "transformer": [
        "--model=transformer", "--limit=12", "--cnn=resnet_8", "--text_size=tiny", *PIXELS,
    ],
    "joint": ["--model=joint", "--attention_dim=8", "--word_dim=8", *TWO_PHASES],
}  # fmt: skip
COMMANDS = {
    "verify": ["test.py", "--exp=run", "--verify"],
    "retrieve": ["retrieve.py", "--exp=run", "--json"],
    "resume": ["train.py", "--exp=run", "--resume", "--threads=1"],
    "test": ["test.py", "--exp=run", "--threads=1"],
}
GRADES = ("exp/run/score.json", "exp/run/projections.npz")
MAY_PASS = (".png", ".txt", ".md", manifest.NAME)  # of a run: no number of its score is in them
PARTS = ("exp/run/", "exp/run-first/", "cache/", "data/")


def write_data(folder, system):
    """What a system is trained on here: vectors, a table of noisy pictures, or scenes (nothing)."""
    draw, table = np.random.default_rng(0), ["image,caption,split"]
    folder.mkdir(parents=True)
    if system == "gru":
        for path in tiny_data.precomp(folder).glob("*_ims.npy"):
            np.save(path, draw.normal(size=np.load(path).shape).astype(np.float32))
    if system not in ("projection", "dual_path"):
        return
    for split in tiny_data.opened("scenes", None, folder.parent / "scenes", limit=12).values():
        for row, name in enumerate(split.image_names):
            noisy = split.pictures[row] + draw.normal(0, 20, split.pictures[row].shape)
            picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).resize((180, 180))
            picture.save(folder / f"{name}.jpg", quality=90)
            texts = tiny_data.captions_of(split, row)
            table += [f'{name}.jpg,"{text}",{split.name}' for text in texts]
    shutil.rmtree(folder.parent / "scenes")
    tiny_data.put(folder / "captions.csv", table)


def run(home, name, system):
    """One of COMMANDS in a child of the loaded process."""
    asked = ["dev 0 1" if system == "gru" else "a red circle"] if name == "retrieve" else []
    return starter.run("tests/flip_and_grade.py", "--bare", *COMMANDS[name], *asked, cwd=home)


def contents(home):
    """{path: bytes} of all files that are not empty, but for locks."""
    found = {path.relative_to(home).as_posix(): path for path in sorted(home.rglob("*"))}
    found = {name: path for name, path in found.items() if path.is_file() and ".lock" not in name}
    return {name: path.read_bytes() for name, path in found.items() if path.stat().st_size}


def damage(home, draw):
    """Flips a bit of a file or cuts it; returns which, and what was done to it."""
    found = list(contents(home))
    own, *others = ([one for one in found if one.startswith(part)] for part in PARTS)
    hit = draw.choice(own if draw.random() < 0.5 else draw.choice([one for one in others if one]))
    content, state = bytearray((home / hit).read_bytes()), (home / hit).stat()
    at = draw.randrange(len(content))
    if cut := draw.random() < 0.25:
        del content[at:]
    else:
        content[at] ^= 1 << draw.randrange(8)
    (home / hit).write_bytes(content)
    if kept := draw.random() < 0.5:
        os.utime(home / hit, ns=(state.st_atime_ns, state.st_mtime_ns))
    return hit, f"{'cut' if cut else 'bit'} at {at:,} of {state.st_size:,}{', time kept' * kept}"


def judge(hit, done, before, now, expected):
    """Whether the damage was refused, mended, or makes no difference; what is wrong in capitals."""
    name, wanted = expected
    if "Traceback" in done.stderr:
        return "TRACEBACK"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error:" in line]
        if len(lines) != 1 or any(
            now.get(one) != before[one] for one in before if "/log" not in one
        ):
            return "REFUSED, BUT NOT IN ONE LINE, OR WITH A LOSS"
        told = "other data" if hit.startswith("data/") else hit.split("/")[1]
        return "refused" if told in lines[0] or hit in lines[0] else "refused elsewhere"
    if name == "retrieve":
        right = done.stdout == wanted
    elif name == "verify":
        right = not hit.startswith("exp/run/") or hit.endswith(MAY_PASS)
    else:
        kept = [one for one in now if one.startswith("exp/") and one != hit and "/log" not in one]
        right = all(now[one] == wanted.get(one) for one in (GRADES if name == "test" else kept))
    return ("made anew" if "made anew" in done.stderr else "same") if right else "WRONG IN SILENCE"


def prepare(home, system):
    """A finished run, graded; returns what the commands give without damage."""
    write_data(home / "data", system)
    done = [starter.run("train.py", *SYSTEMS[system], *SMALL, cwd=home)]
    done.append(starter.run(*COMMANDS["test"], cwd=home))
    shutil.copytree(home, home.with_name("whole"))
    expected = {}
    for name in COMMANDS:
        done.append(run(home, name, system))
        expected[name] = done[-1].stdout if name == "retrieve" else contents(home)
    for one in done:
        if one.returncode:
            raise RuntimeError(f"{one.args} failed: {one.stderr[-2000:]}")
    return expected


def main(count, systems, seed):
    for system in systems:
        with tempfile.TemporaryDirectory() as folder:
            home, draw, told = Path(folder) / "home", random.Random(seed), Counter()
            expected, began = prepare(home, system), time.perf_counter()
            for _ in range(count):
                shutil.rmtree(home)
                shutil.copytree(home.with_name("whole"), home)
                (hit, what), found = damage(home, draw), []
                for one in expected.items():
                    before, done = contents(home), run(home, one[0], system)
                    found.append(judge(hit, done, before, contents(home), one))
                    if found[-1].isupper():
                        print(done.stdout[-500:], done.stderr[-3000:], sep="\n")
                print(f"{system}: {hit}, {what}:", *found, flush=True)
                told.update(found)
            print(f"{system}: {count} in {time.perf_counter() - began:.0f} s: {dict(told)}")


def become_bare(argv):
    """Goes on as a script that draws no curves and exports no towers."""
    from figures import charts
    from grading import export

    export.export_towers = charts.save = lambda *_, **__: None
    sys.argv = [str(starter.ROOT / argv[0]), *argv[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        become_bare(sys.argv[2:])
    else:
        numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
        chosen = [word for word in sys.argv[1:] if word in SYSTEMS] or SYSTEMS
        main(numbers[0] if numbers else 5, chosen, sum(numbers[1:]))

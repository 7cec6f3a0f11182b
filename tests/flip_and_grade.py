"""Damages files of finished runs at random; nothing may then be wrong in silence.

PYTHONPATH=. python tests/flip_and_grade.py 200              # flips or cuts, for each system
PYTHONPATH=. python tests/flip_and_grade.py 50 gru joint 3   # of some, drawn with seed 3

Each damage hits one file of a run, its first phase, its caches or its data; every second one keeps
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

from data import datasets
from run import manifest

SMALL = [
    "--exp=run", "--cache_dir=cache", "--threads=1", "--epochs=2", "--embed_dim=16",
    "--hidden_dim=16", "--batch_size=32", "--image_size=32", "--image_pooling=mean",
]  # fmt: skip
PHASES = ["--first_phase=joint_scenes_rank", "--rank_weight=0", "--limit=16", "--max_length=6"]
SYSTEMS = {
    "projection": ["--data=flickr8k", "--data_dir=data"],
    "gru": ["--recipe=ph", "--data=precomp", "--data_dir=data", "--word_dim=8"],
    "dual_path": [
        "--recipe=dual_path_scenes", "--data=csv", "--data_dir=data", "--cnn=resnet_8",
        "--text_width=0.02", "--word_dim=8", "--cache=disk", "--test_shifts=1", "--classes=images",
    ],
    "transformer": ["--model=transformer", "--limit=12", "--cnn=resnet_8", "--text_size=tiny"],
    "joint": ["--model=joint", "--attention_dim=8", "--word_dim=8", *PHASES],
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
IS_RIGHT = ("same", "refused", "refused elsewhere", "made anew")


def write_data(folder, name):
    """What a system is trained on here: vectors, noisy pictures in two layouts, or scenes."""
    if name == "gru":
        folder.mkdir(parents=True)
        tiny_data.precomp(folder)
        for path in folder.glob("*_ims.npy"):
            rows = np.random.default_rng(len(path.name)).normal(size=(len(np.load(path)), 6))
            np.save(path, rows.astype(np.float32))
    if name not in ("projection", "dual_path"):
        return
    tokens, table, draw = [], ["image,caption,split"], np.random.default_rng(0)
    splits = datasets.open_dataset("scenes", cache_dir=folder / "scenes", limit=12)
    for word, split in zip(("train", "dev", "test"), splits.values(), strict=True):
        names = [f"{own}.jpg" for own in split.image_names]
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for picture, own in zip(split.pictures, names, strict=True):
            noisy = np.clip(picture + draw.normal(0, 20, picture.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).resize((180, 180)).save(folder / "images" / own, quality=90)
        for row, own in enumerate(names):
            captions = tiny_data.captions_of(split, row)
            tokens += [f"{own}#{k}\t{text}" for k, text in enumerate(captions)]
            table += [f'images/{own},"{text}",{split.name}' for text in captions]
        if name == "projection":
            tiny_data.put(folder / f"Flickr_8k.{word}Images.txt", names)
    shutil.rmtree(folder / "scenes")
    layout = {"projection": ("Flickr8k.token.txt", tokens), "dual_path": ("captions.csv", table)}
    tiny_data.put(folder / layout[name][0], layout[name][1])


def run(home, name, *more):
    """One of COMMANDS in a child of the loaded process."""
    return starter.run("tests/flip_and_grade.py", "--bare", *COMMANDS[name], *more, cwd=home)


def contents(home):
    """{path: bytes} of all files that tell something, but for locks."""
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.stat().st_size and ".lock" not in path.name
    }


def damage(path, draw):
    """Flips a bit of a file or cuts it, and says so."""
    content, state = bytearray(path.read_bytes()), path.stat()
    at = draw.randrange(len(content))
    if cut := draw.random() < 0.25:
        del content[at:]
    else:
        content[at] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    if kept := draw.random() < 0.5:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    return f"{'cut' if cut else 'bit'} at {at:,} of {state.st_size:,}{', time kept' * kept}"


def choose(home, draw):
    """A file of the run, half of the time, or of its first phase, its cache or its data."""
    found = list(contents(home))
    parts = [[one for one in found if one.startswith(part)] for part in PARTS]
    others = [part for part in parts[1:] if part]
    return draw.choice(parts[0] if draw.random() < 0.5 else draw.choice(others))


def judge(name, done, hit, before, home, expected):
    """What a command made of the damage: one of IS_RIGHT, or what is wrong."""
    now, of_data = contents(home), hit.startswith("data/")
    if "Traceback" in done.stderr:
        return "TRACEBACK"
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error:" in line]
        lost = [path for path in before if now.get(path) != before[path] and "/log" not in path]
        if lost or len(lines) != 1:
            return f"REFUSED, BUT {lost or lines}"
        told = "other data" if of_data else hit.split("/")[1]
        return "refused" if told in lines[0] or hit in lines[0] else "refused elsewhere"
    if name == "retrieve":
        right = done.stdout == expected[name]
    elif name == "verify":
        right = not hit.startswith("exp/run/") or hit.endswith(MAY_PASS)
    elif name == "test":
        right = all(now[path] == expected[name][path] for path in GRADES)
    else:
        kept = [path for path in now if path.startswith("exp/") and path != hit]
        right = all(now[one] == expected[name].get(one) for one in kept if "/log" not in one)
    anew = "made anew" in done.stderr
    return ("made anew" if anew else "same") if right else "WRONG"


def expect(home, query):
    """What the commands give without damage."""
    expected = {}
    for name in COMMANDS:
        done = run(home, name, *([query] if name == "retrieve" else []))
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
        expected[name] = done.stdout if name == "retrieve" else contents(home)
    return expected


def main(count, systems, seed):
    for system in systems:
        with tempfile.TemporaryDirectory() as folder:
            home, whole, draw = Path(folder) / "home", Path(folder) / "whole", random.Random(seed)
            write_data(home / "data", system)
            home.mkdir(exist_ok=True)
            for command in (["train.py", *SYSTEMS[system], *SMALL], COMMANDS["test"]):
                done = starter.run(*command, cwd=home)
                if done.returncode:
                    raise RuntimeError(f"{command} failed: {done.stderr[-2000:]}")
            shutil.copytree(home, whole)
            query = "dev 0 1" if system == "gru" else "a red circle"
            expected, told, began = expect(home, query), Counter(), time.perf_counter()
            for _ in range(count):
                shutil.rmtree(home)
                shutil.copytree(whole, home)
                hit, found = choose(home, draw), []
                what = damage(home / hit, draw)
                for name in COMMANDS:
                    before = contents(home)
                    done = run(home, name, *([query] if name == "retrieve" else []))
                    found.append(judge(name, done, hit, before, home, expected))
                    if found[-1] not in IS_RIGHT:
                        print(done.stdout[-500:], done.stderr[-3000:], sep="\n")
                print(f"{system}: {hit}, {what}:", *found, sep=" ", flush=True)
                told.update(found)
            print(f"{system}: {count} in {time.perf_counter() - began:.0f} s: {dict(told)}")


def become_bare(argv):
    """Goes on as a script that draws no curves and exports no towers."""
    from grading import export
    from run import figures

    for module, names in ((export, ["export_towers"]), (figures, ["save"])):
        for name in names:
            setattr(module, name, lambda *_, **__: None)
    sys.argv = [str(starter.ROOT / argv[0]), *argv[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        become_bare(sys.argv[2:])
    else:
        numbers = [int(word) for word in sys.argv[1:] if word.isdigit()] + [0]
        main(numbers[0] or 5, [w for w in sys.argv[1:] if w in SYSTEMS] or SYSTEMS, numbers[1])

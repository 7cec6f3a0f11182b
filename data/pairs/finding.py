"""Pairs of words such as brown_dog and sit_cat: which captions say them, of whatever data.

    chosen = parse_pairs("brown_dog,sit_cat", "flickr8k")
    contained(["A brown puppy sits ."], chosen)         # (M, P) bool: [[True, False]]
    count_images(split, said)                           # (N, P): how many captions of an image

A pair is an adjective and the noun that it describes, or a verb and its subject. Where it comes
from:

    grammar     the scenes: each caption is read back into its meaning (`scene_captions.pairs`)
    rules       other data: `shallow_parser.py`, without a model; its synonyms are `lexicon.json`
    spacy       other data: spaCy's dependencies, where it and its English model are installed
    a file      the occurrence files of the original: its words, and its counts for each image

Shape letters: M captions, N images, P pairs.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.formats.records import image_id, some
from data.formats.text import read_json_text
from data.pairs import parser, tagging
from data.scenes import sentences
from run.files import write_json

PAPER = (
    "brown_dog", "eat_man", "green_bench", "red_chair", "ride_woman", "sit_cat", "small_plane",
    "white_car", "wooden_table",
)  # fmt: skip
SPACY_MODEL = "en_core_web_sm"
FINDERS = ("rules", "spacy")  # as --pair_finder names them
DATA_KEY = "adjective_noun_occurrence_data"  # of the original's files, for verbs too
FEWEST = 1000  # images of which an occurrence file knows one at least
KINDS = {"adjectives": "adjective", "verbs": "verb"}


class Pair(NamedTuple):
    """A pair and its words.

    Attributes:
        name: such as brown_dog.
        kind: "adjectives" or "verbs".
        modifiers: the adjectives, or base forms of the verbs, that count; none on scenes.
        nouns: the nouns that count, one and many; none on scenes.
    """

    name: str
    kind: str
    modifiers: frozenset[str] = frozenset()
    nouns: frozenset[str] = frozenset()


def parse_pairs(names: str | Iterable[str], data: str) -> list[Pair]:
    """The pairs of these names, or the nine of the paper where the name is "paper".

    Args:
        names: "brown_dog,sit_cat", or a list.
        data: a name of `datasets.DATASETS`: scenes has words of its own.

    Raises:
        ValueError: a name is no pair, or has a word that is not known; lists the known ones.

    Reference: the word lists follow the heads in the repository of "Bottom-up ranking generation",
        April 2019; the lists themselves are ours.
    """
    given = names.split(",") if isinstance(names, str) else list(names)
    given = [name.strip().lower() for name in given if name.strip()]
    given = list(PAPER) if given == ["paper"] else list(dict.fromkeys(given))
    if not given:
        raise ValueError("no pair was named; expected such as brown_dog,sit_cat")
    return [_parse_one(name, data) for name in given]


class Sought(NamedTuple):
    """A pair and, where an occurrence file names it, what the file counts.

    Attributes:
        pair: the pair.
        counts: image id -> how many of the image's captions say it; None where no file does.
        path: of the file.
    """

    pair: Pair
    counts: dict[str, int] | None = None
    path: str = ""


def gather_pairs(names: str | None, files: str | None, data: str) -> list[Sought]:
    """The pairs of some names and of some occurrence files.

    Args:
        names: as `parse_pairs`, or None.
        files: occurrence files with commas between, or a folder of them, or None.
        data: a name of `datasets.DATASETS`.

    Raises:
        ValueError: as `parse_pairs` and `read_occurrences`; or there is no such file.
    """
    found = [Sought(pair) for pair in parse_pairs(names, data)] if names else []
    if files and data == "scenes":
        raise ValueError(f"{files}: occurrence files are of real captions; name pairs of scenes")
    for name in files.split(",") if files else []:
        path = Path(name.strip())
        own = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not own or not own[0].is_file():
            raise ValueError(f"{path}: expected an occurrence file, or a folder that holds some")
        found += [Sought(*read_occurrences(one), str(one)) for one in own]
    return found


def _parse_one(name: str, data: str) -> Pair:
    synonyms = tagging.lexicon().heads
    known = _scene_words() if data == "scenes" else synonyms
    modifier, mark, noun = name.partition("_")
    kind = next((kind for kind in KINDS if modifier in known[kind]), None)
    if not mark or kind is None or noun not in known["nouns"]:
        whose = "the scenes" if data == "scenes" else tagging.PATH.name
        lists = "; ".join(f"{kind} {', '.join(sorted(known[kind]))}" for kind in (*KINDS, "nouns"))
        raise ValueError(
            f"{name!r} is no pair of {whose}: expected ADJECTIVE_NOUN or VERB_NOUN of {lists}"
        )
    if data == "scenes":
        return Pair(name, kind)
    return Pair(name, kind, frozenset(synonyms[kind][modifier]), frozenset(synonyms["nouns"][noun]))


def _scene_words() -> dict[str, set[str]]:
    words = sentences
    return {
        "adjectives": {*words.COLOURS, *words.SIZES, *words.TEXTURES},
        "verbs": {verb for verbs in words.PAIR_VERBS.values() for verb in verbs},
        "nouns": set(words.SHAPES),
    }


# Which captions say a pair.


def contained(captions: Sequence[str], chosen: Sequence[Pair], finder: str = "rules") -> np.ndarray:
    """Which captions say which pairs.

    Args:
        captions: M texts, of people or of a model; a text that is no sentence says nothing.
        chosen: P pairs of one data set.
        finder: "rules" or "spacy"; pairs of scenes are read by their grammar.

    Returns:
        (M, P) bool.

    Raises:
        ValueError: spaCy or its model is not installed.
    """
    return scan_captions(captions, chosen, finder).said


class Scan(NamedTuple):
    """What captions hold of pairs: (M, P) bool each.

    Attributes:
        said: the pair.
        nouns, modifiers: a form of its noun, of its adjective or verb, whatever they belong to.
    """

    said: np.ndarray
    nouns: np.ndarray
    modifiers: np.ndarray


def scan_captions(captions: Sequence[str], chosen: Sequence[Pair], finder: str = "rules") -> Scan:
    """`contained`, and which captions hold the words of which pairs, in one pass.

    Captions that lack one of the two words are not parsed. Those of scenes are read whole: there
    `nouns` and `modifiers` are what is said.
    """
    said, nouns, modifiers = np.zeros((3, len(captions), len(chosen)), bool)
    if chosen and not chosen[0].nouns:
        _read_scenes(captions, chosen, said)
        return Scan(said, said, said)
    if finder not in FINDERS:
        raise ValueError(f"finder is {finder!r}, expected one of {', '.join(FINDERS)}")
    places: dict[str, list[tuple[np.ndarray, int]]] = {}  # word -> the tables' columns
    for column, pair in enumerate(chosen):
        for table, words in ((nouns, pair.nouns), (modifiers, forms(pair))):
            for word in words:
                places.setdefault(word, []).append((table, column))
    for row, caption in enumerate(captions):
        for word in tagging.tokens_of(caption):
            for table, column in places.get(word, ()):
                table[row, column] = True
    both = nouns & modifiers
    rows = np.flatnonzero(both.any(axis=1)).tolist()
    for row, facts in zip(rows, _facts_of([captions[row] for row in rows], finder), strict=True):
        for column in np.flatnonzero(both[row]).tolist():
            said[row, column] = says(facts, chosen[column])
    return Scan(said, nouns, modifiers)


def says(facts: parser.Facts, pair: Pair) -> bool:
    """Whether what a caption says holds the pair."""
    known = facts.described if pair.kind == "adjectives" else facts.doing
    return any(word in pair.modifiers and noun in pair.nouns for word, noun in known)


def forms(pair: Pair) -> set[str]:
    """Every form of a pair's adjective or verb."""
    if pair.kind == "adjectives":
        return set(pair.modifiers)
    known = tagging.lexicon().verbs
    return {form for form, verbs in known.items() for _, base in verbs if base in pair.modifiers}


def _read_scenes(captions: Sequence[str], chosen: Sequence[Pair], found: np.ndarray) -> None:
    places = {pair.name: place for place, pair in enumerate(chosen)}
    for row, caption in enumerate(captions):
        try:
            said = sentences.pairs(sentences.read_sentence(caption))
        except ValueError:  # a model may write what is no sentence
            continue
        for name in said & places.keys():
            found[row, places[name]] = True


def count_images(split: Any, said: np.ndarray, sought: Sequence[Sought] = ()) -> np.ndarray:
    """(N, P) int64, how many captions of each image say each pair, from (M, P) bool.

    Args:
        split: a `datasets.Split`.
        said: of `contained`, for the split's captions.
        sought: the pairs; the counts of those that have a file are the file's.
    """
    counts = np.zeros((len(split.image_names), said.shape[1]), np.int64)
    np.add.at(counts, np.asarray(split.caption_image), said)
    for column, one in enumerate(sought):
        if one.counts is not None:
            counts[:, column] = file_counts(one.counts, split.image_names, one.path)
    return counts


# spaCy.


def _facts_of(captions: Sequence[str], finder: str) -> Iterable[parser.Facts]:
    if finder == "rules":
        return map(parser.read_facts, captions)
    return map(dependency_facts, _load_spacy().pipe(captions))


def _load_spacy() -> Any:
    try:
        import spacy  # type: ignore[import-not-found]

        return spacy.load(SPACY_MODEL, exclude=["ner"])
    except (ImportError, OSError) as error:
        raise ValueError(
            f"finder spacy needs spaCy and its model {SPACY_MODEL}, which are not both installed "
            f"({error}): pip install spacy, then python -m spacy download {SPACY_MODEL}; or use "
            "rules"
        ) from error


def dependency_facts(doc: Iterable[Any]) -> parser.Facts:
    """What a parsed caption says, by the original's rules on its dependencies.

        adjective   amod(noun, adjective), or the noun is subject of a form of be with the adjective
                    as complement; and adjectives joined to those, or modifying them
        verb        nsubj(verb, noun); acl or relcl(noun, verb)

    Args:
        doc: tokens of spaCy: lower_, lemma_, dep_, pos_, head, children.

    Reference: the code of "Bottom-up ranking generation", April 2019, on Stanford's dependencies;
        there the complement itself is the head: nsubj(adjective, noun).
    """
    facts = parser.Facts(set(), set())
    for token in doc:
        head = token.head
        if token.dep_ == "amod":
            _add_described(facts, token, head.lower_)
        elif token.dep_ in ("nsubj", "nsubjpass") and head.pos_ in ("AUX", "VERB", "ADJ"):
            for child in [head, *head.children]:
                if child.pos_ == "ADJ" and (child is head or child.dep_ in ("acomp", "attr")):
                    _add_described(facts, child, token.lower_)
            if head.pos_ == "VERB" and token.dep_ == "nsubj":
                facts.doing.add((head.lemma_, token.lower_))
        elif token.dep_ in ("acl", "relcl", "acl:relcl") and token.pos_ == "VERB":
            facts.doing.add((token.lemma_, head.lower_))
    return facts


def _add_described(facts: parser.Facts, adjective: Any, noun: str) -> None:
    facts.described.add((adjective.lower_, noun))
    for child in adjective.children:
        if child.dep_ in ("conj", "amod"):
            _add_described(facts, child, noun)


# Occurrence files.


def read_occurrences(path: str | Path) -> tuple[Pair, dict[str, int]]:
    """An occurrence file of the original: the pair with the file's own words, and its counts.

    Returns:
        the pair, and image id -> how many of the image's captions say it.

    Raises:
        ValueError: the file is laid out otherwise.
    """
    path = Path(path)
    content = read_json_text(path)
    kind = next((kind for kind in KINDS if isinstance(content, dict) and kind in content), None)
    try:
        key = DATA_KEY if DATA_KEY in content else "verb_noun_occurrence_data"
        counts = {str(key): int(own["pair_occurrences"]) for key, own in content[key].items()}
        nouns = frozenset(map(str, content["nouns"]))
        words = frozenset(map(str, content[kind]))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} is no occurrence file: expected nouns, adjectives or verbs, and {DATA_KEY} "
            f"(image id: pair_occurrences); missed {error}"
        ) from error
    if not nouns or not words:
        raise ValueError(f"{path} names no {'nouns' if not nouns else kind}: expected its words")
    if kind == "verbs":
        known = tagging.lexicon().verbs
        words = frozenset(
            base for word in words for base in [*(b for _, b in known.get(word, ())), word]
        )
    return Pair(path.stem, str(kind), words, nouns), counts


def scan_splits(
    chosen: Sequence[Pair], splits: Iterable[Any], finder: str = "rules"
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, dict[str, Any]]]:
    """Counts the pairs of all captions in one pass.

    Args:
        chosen: P pairs; splits: `datasets.Split`s.

    Returns:
        name of a split -> (N, P) how many captions of an image say a pair, and (M, P) bool, which;
        name of a pair -> what its occurrence file holds (`read_occurrences` reads it back): images
        whose captions hold neither of its words are left out.
    """
    scans, found = {}, {pair.name: {} for pair in chosen}
    for split in splits:
        own = scan_captions(split.captions, chosen, finder)
        tables = [count_images(split, table) for table in own]
        scans[split.name] = tables[0], own.said
        ids = list(map(image_id, split.image_names))
        for column, pair in enumerate(chosen):
            pairs, nouns, modifiers = (table[:, column].tolist() for table in tables)
            for image, key in enumerate(ids):
                if nouns[image] or modifiers[image]:
                    found[pair.name][key] = {
                        "pair_occurrences": pairs[image],
                        "noun_occurrences": nouns[image],
                        f"{KINDS[pair.kind]}_occurrences": modifiers[image],
                        "coco_split": split.name,
                    }
    files = {
        pair.name: {
            "nouns": sorted(pair.nouns),
            pair.kind: sorted(forms(pair)),
            DATA_KEY: found[pair.name],
        }
        for pair in chosen
    }
    return scans, files


def write_occurrences(folder: str | Path, pair: Pair, table: dict[str, Any]) -> Path:
    """Writes the occurrence file of a pair, `<modifier>_<noun>.json`; returns its path."""
    path = Path(folder) / f"{pair.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, table)
    return path


def file_counts(counts: dict[str, int], image_names: Sequence[str], path: str | Path) -> np.ndarray:
    """(N,) how many captions of each image say a pair, by an occurrence file; 0 where it is silent.

    Raises:
        ValueError: the file knows none of the images, or hardly any: numbers of two data sets may
            be equal by chance.
    """
    ids = [image_id(name) for name in image_names]
    known = sum(key in counts for key in ids)
    if known * FEWEST < len(ids) or not known:
        raise ValueError(
            f"{path} knows {known or 'none'} of the {len(ids):,} images ({some(ids, 3)}); it has "
            f"{some(counts, 3)}: is it of another data set?"
        )
    return np.array([counts.get(key, 0) for key in ids], np.int64)

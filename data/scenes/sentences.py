"""The language of the built-in scenes: what a caption means, how it is said and how it is read.

A `Meaning` is a few object constraints (`Mention`), relations between them and perhaps a
background. `say` turns a meaning into one of many English sentences and `read` turns each of them
back into its meaning: what is said and what is meant agree exactly, so a perfect reader is well
defined. No picture is known here; `scenes.py` draws them and judges which caption fits which.

    mention   = [article] {size | texture | colour} noun [with stripes] [place]
    statement = S above O | S floats above O | above O is S | O with S above it | there is S above O
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Canonical value -> the ways to say it, the usual one first.
SHAPES = {
    "circle": ("circle", "disc", "round shape"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "diamond": ("diamond", "rhombus"),
    "cross": ("cross", "plus sign"),
    "heart": ("heart",),
    "ring": ("ring", "hoop"),
}
COLOURS = {
    "red": ("red", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "turquoise": ("turquoise", "teal"),
}
SIZES = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "medium-sized"),
    "large": ("large", "big", "huge"),
}
TEXTURES = {
    "plain": ("plain", "solid"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checked": ("checked", "chequered"),
}
TEXTURE_SUFFIXES = {
    "striped": ("with stripes",),
    "dotted": ("with dots", "with spots"),
    "checked": ("with checks",),
}
PLACES = {
    "left": ("on the left", "on the left side"),
    "right": ("on the right", "on the right side"),
    "top": ("at the top", "near the top"),
    "bottom": ("at the bottom", "near the bottom"),
    "centre": ("in the middle", "in the centre"),
    "top left": ("in the top left corner", "in the upper left"),
    "top right": ("in the top right corner", "in the upper right"),
    "bottom left": ("in the bottom left corner", "in the lower left"),
    "bottom right": ("in the bottom right corner", "in the lower right"),
}
BACKGROUNDS = {
    "white": ("on a white background", "on white"),
    "grey": ("on a grey background", "against grey"),
    "black": ("on a black background", "in the dark"),
    "sky": ("against the sky", "in front of a pale sky"),
    "sand": ("on sand", "on sandy ground"),
    "grid": ("on a grid", "on squared paper"),
}
RELATIONS = ("above", "left of", "inside", "touching")

# (relation, swapped): swapped says it from the second object's side, "below" for "above".
PREPOSITIONS = {
    ("above", False): ("above", "over", "higher than"),
    ("above", True): ("below", "under", "beneath", "lower than"),
    ("left of", False): ("to the left of", "left of"),
    ("left of", True): ("to the right of", "right of"),
    ("inside", False): ("inside", "within"),
    ("inside", True): ("around", "surrounding"),
    ("touching", False): ("touching", "in contact with"),
}
STATES = {  # verbs that stand before a preposition: "floats above"
    ("above", False): ("is", "floats", "hovers"),
    ("above", True): ("is", "lies", "rests"),
    ("inside", False): ("is", "sits", "hides"),
}
ACTIONS = {  # verbs that take the other object directly: "holds a star"
    ("inside", True): ("contains", "holds", "surrounds"),
    ("touching", False): ("touches", "meets"),
}
# Relation -> the verb of its first and of its second object, for verb-noun pairs.
PAIR_VERBS = {
    "above": ("float", "lie"),
    "inside": ("sit", "contain"),
    "touching": ("touch", "touch"),
}
ANY_SHAPE = ("shape", "thing", "object")
FILLERS = ("a", "an", "and", "with", "which", "there", "is", "are")


@dataclass(frozen=True)
class Mention:
    """What a caption says of one object; None where it says nothing."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Meaning:
    """Mentions of distinct objects, relations `(name, first, second)` between them, background."""

    objects: tuple[Mention, ...]
    relations: tuple[tuple[str, int, int], ...] = ()
    background: str | None = None


@dataclass(frozen=True)
class Sentence:
    """A sentence and what it means."""

    text: str
    meaning: Meaning


def pick(rng: random.Random, options: Sequence):
    """One of the options. Only `rng.random()`, whose stream no Python release may change."""
    return options[int(rng.random() * len(options))]


def say(meaning: Meaning, rng: random.Random) -> str:
    """One English sentence that says all of the meaning and nothing else.

    Args:
        meaning: One to three mentions and at most two relations. Two relations share one object.
            A mention with a place stands in a meaning without relations.
        rng: Chooses words, order and form.

    Returns:
        Lower-case text without a full stop; `read` gives the meaning back.
    """
    phrases = _noun_phrases(meaning.objects, rng)
    if len(meaning.relations) == 2:
        text = _say_chain(meaning.relations, phrases, rng)
    elif meaning.relations:
        text = _say_relation(meaning.relations[0], phrases, rng)
    elif len(phrases) == 1:
        text = _say_one(phrases[0], meaning.objects[0].place, rng)
    else:
        text = _say_list(phrases, [mention.place for mention in meaning.objects], rng)
    if meaning.background is None:
        return text
    background = _word(rng, BACKGROUNDS[meaning.background])
    return f"{background}, {text}" if rng.random() < 0.25 else f"{text} {background}"


def _word(rng: random.Random, words: Sequence[str]) -> str:
    """The usual word more often than its synonyms."""
    return words[0] if len(words) == 1 or rng.random() < 0.6 else pick(rng, words[1:])


def _noun_phrases(mentions: Sequence[Mention], rng: random.Random) -> list[str]:
    """ "a small striped red circle" for each mention; places are left to the sentence."""
    phrases = []
    for mention in mentions:
        words = []
        suffix = ""
        if mention.colour:
            words.append(_word(rng, COLOURS[mention.colour]))
        if mention.texture:
            if mention.texture in TEXTURE_SUFFIXES and rng.random() < 0.25:
                suffix = " " + _word(rng, TEXTURE_SUFFIXES[mention.texture])
            else:
                words.insert(
                    int(rng.random() * (len(words) + 1)), _word(rng, TEXTURES[mention.texture])
                )
        if mention.size:
            words.insert(0, _word(rng, SIZES[mention.size]))
        words.append(_word(rng, SHAPES[mention.shape] if mention.shape else ANY_SHAPE))
        article = "an" if words[0][0] in "aeiou" else "a"
        phrases.append(f"{article} {' '.join(words)}{suffix}")
    return phrases


def _say_one(phrase: str, place: str | None, rng: random.Random) -> str:
    if place is None:
        return phrase if rng.random() < 0.7 else f"there is {phrase}"
    where = _word(rng, PLACES[place])
    forms = ("{what} {where}", "{where} is {what}", "there is {what} {where}", "{what} is {where}")
    return pick(rng, forms).format(what=phrase, where=where)


def _say_list(phrases: Sequence[str], places: Sequence[str | None], rng: random.Random) -> str:
    parts = [
        f"{phrase} {_word(rng, PLACES[place])}" if place else phrase
        for phrase, place in zip(phrases, places, strict=True)
    ]
    text = ", ".join(parts[:-1]) + " and " + parts[-1]
    return text if rng.random() < 0.7 else f"there are {text}"


def _say_relation(
    relation: tuple[str, int, int], phrases: Sequence[str], rng: random.Random
) -> str:
    """One statement about two objects, from either side; a third object stands apart."""
    name, *ends = relation
    swapped = rng.random() < 0.5
    subject, other = (phrases[end] for end in (reversed(ends) if swapped else ends))
    preposition = _preposition(name, swapped, rng)
    form = rng.random()
    if form < 0.25:
        text = f"{subject} {preposition} {other}"
    elif form < 0.55:
        text = f"{subject} {_predicate(name, swapped, rng)} {other}"
    elif form < 0.7:
        text = f"{preposition} {other} {_state(name, swapped, rng)} {subject}"
    elif form < 0.9:
        text = f"{other} with {subject} {preposition} it"
    elif name == "touching":
        text = f"{subject} and {other} touch each other"
    else:
        text = f"there is {subject} {preposition} {other}"
    apart = [phrase for at, phrase in enumerate(phrases) if at not in ends]
    return text + "".join(f", and there is {phrase}" for phrase in apart)


def _say_chain(
    relations: Sequence[tuple[str, int, int]], phrases: Sequence[str], rng: random.Random
) -> str:
    """Two statements that share an object: "a ring above a star which touches a heart"."""
    (name, first, second), (next_name, next_first, next_second) = relations
    swapped = second not in (next_first, next_second)  # then the first object is the shared one
    start, shared = (second, first) if swapped else (first, second)
    turned = shared == next_second
    end = next_first if turned else next_second
    preposition = _preposition(name, swapped, rng)
    predicate = _predicate(next_name, turned, rng)
    return f"{phrases[start]} {preposition} {phrases[shared]} which {predicate} {phrases[end]}"


def _predicate(name: str, swapped: bool, rng: random.Random) -> str:
    """A finite verb for the relation: "touches", "is above", "hovers over"."""
    actions = ACTIONS.get(_key(name, swapped))
    if actions and rng.random() < 0.8:
        return _word(rng, actions)
    return f"{_state(name, swapped, rng)} {_preposition(name, swapped, rng)}"


def _preposition(name: str, swapped: bool, rng: random.Random) -> str:
    return _word(rng, PREPOSITIONS[_key(name, swapped)])


def _state(name: str, swapped: bool, rng: random.Random) -> str:
    return pick(rng, STATES.get(_key(name, swapped), ("is",)))


def _key(name: str, swapped: bool) -> tuple[str, bool]:
    """The key of the word tables. Touching is the same from both sides."""
    return name, swapped and name != "touching"


def _lexicon() -> dict[tuple[str, ...], tuple[str, Any]]:
    """Every phrase of the grammar, as a tuple of words, -> (kind, value)."""
    empty = (*FILLERS, *(verb for verbs in STATES.values() for verb in verbs))
    lexicon: dict[tuple[str, ...], tuple[str, Any]] = {(word,): ("", None) for word in empty}

    def add(kind: str, table: dict) -> None:
        for value, phrases in table.items():
            lexicon.update({tuple(_words_of(phrase)): (kind, value) for phrase in phrases})

    add("size", SIZES)
    add("colour", COLOURS)
    add("texture", TEXTURES)
    add("texture suffix", TEXTURE_SUFFIXES)
    add("shape", SHAPES)
    add("shape", {None: ANY_SHAPE})
    add("place", PLACES)
    add("background", BACKGROUNDS)
    add("relation", {**PREPOSITIONS, ("touching", False): ("touching", "in contact with", "touch")})
    add("relation", ACTIONS)
    add("it", {None: ("it", "each other")})
    return lexicon


def _words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


_LEXICON = _lexicon()
_LONGEST = max(map(len, _LEXICON))


def read_sentence(text: str) -> Sentence:
    """The caption that a sentence of the grammar stands for: the inverse of `say`.

    Args:
        text: For example "a small red circle above a blue star". Case and stops do not matter.

    Returns:
        The text with its meaning; mentions in the order of the sentence.

    Raises:
        ValueError: The text holds other words, or is no finished sentence of the grammar.
    """
    phrases = _cut_phrases(text)
    try:
        objects = _read_mentions(phrases)
        relations = _read_relations(phrases)
    except ValueError as error:
        raise ValueError(
            f"cannot make sense of {text!r} ({error}): a caption names an object, such as "
            '"a red circle", or two in a relation, such as "a red circle above a star"'
        ) from None
    backgrounds = [value for kind, value in phrases if kind == "background"]
    return Sentence(text, Meaning(objects, relations, backgrounds[0] if backgrounds else None))


def _cut_phrases(text: str) -> list[tuple[str, Any]]:
    """(kind, value) of each phrase, longest first: "on the left side" before "on the left"."""
    words = _words_of(text)
    found, unknown, at = [], [], 0
    while at < len(words):
        lengths = range(min(_LONGEST, len(words) - at), 0, -1)
        length = next((n for n in lengths if tuple(words[at : at + n]) in _LEXICON), 0)
        if length:
            found.append(_LEXICON[tuple(words[at : at + length])])
        else:
            unknown.append(words[at])
        at += length or 1
    if unknown:
        raise ValueError(f"words that the scenes' language does not have: {', '.join(unknown)}")
    return found


def _read_mentions(phrases: Sequence[tuple[str, Any]]) -> tuple[Mention, ...]:
    """Adjectives belong to the noun that follows, "with dots" and places to the noun before.

    A place that no noun precedes, as in "at the top is a star", belongs to the first noun.
    """
    mentions: list[dict[str, Any]] = []
    ahead: dict[str, Any] = {}  # said of the noun to come
    for kind, value in phrases:
        if kind in ("texture suffix", "place") and mentions:
            target = mentions[-1]
        elif kind in ("size", "colour", "texture", "shape", "place"):
            target = ahead
        else:
            continue
        slot = kind.split()[0]
        if target.get(slot) is not None:
            raise ValueError(f"two words for one {slot}")
        target[slot] = value
        if kind == "shape":
            mentions.append(ahead)
            ahead = {}
    if ahead or not mentions:
        raise ValueError("no noun")
    return tuple(Mention(**mention) for mention in mentions)


def _read_relations(phrases: Sequence[tuple[str, Any]]) -> tuple[tuple[str, int, int], ...]:
    """A relation's subject is the noun before it; its other object the noun after it, or "it".

    At the start of a sentence, "above O is S", the other object comes first.
    """
    relations: list[tuple[str, int, int]] = []
    num_nouns = 0
    side: tuple[str, bool] | None = None  # the relation being read, and its objects so far
    ends: list[int] = []
    turned = False
    for kind, value in phrases:
        if kind == "relation":
            if side:
                raise ValueError("two relations without an object between them")
            side, turned = value, num_nouns == 0
            ends = [] if turned else [num_nouns - 1]
        elif kind == "shape":
            ends.append(num_nouns)
            num_nouns += 1
        elif kind == "it":
            if not side or num_nouns < 2:
                raise ValueError('"it" without a relation and two objects')
            ends.append(num_nouns - 2)
        if side and len(ends) == 2:
            first, second = reversed(ends) if side[1] != turned else ends
            relations.append((side[0], first, second))
            side = None
    if side:
        raise ValueError("a relation without its objects")
    return tuple(relations)


def pairs(caption: Sentence) -> set[str]:
    """Canonical adjective-noun and verb-noun pairs of a caption, from its meaning alone.

    The noun is the shape that the adjective describes or that is the verb's subject: "a scarlet
    disc floats over a stripy star" gives red_circle, striped_star, float_circle and lie_star.
    Touching has two subjects; `contain` belongs to the outer object and `sit` to the inner one.

    Returns:
        Names such as "red_circle"; empty where no shape is named.
    """
    objects = caption.meaning.objects
    found = {
        f"{adjective}_{mention.shape}"
        for mention in objects
        for adjective in (mention.colour, mention.size, mention.texture)
        if mention.shape and adjective
    }
    for name, *ends in caption.meaning.relations:
        for verb, end in zip(PAIR_VERBS.get(name, ()), ends, strict=False):
            if objects[end].shape:
                found.add(f"{verb}_{objects[end].shape}")
    return found

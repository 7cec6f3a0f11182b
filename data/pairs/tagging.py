"""Words of captions and their tags, by lists and neighbours, without a model.

    [token.tag for token in tag(tokens_of("Two kids ride ."))]      # DET NOUN VERB END

A word's tag follows from the lists of `lexicon.json`, its ending, and the words beside it: "ride"
is a verb after "kids" and a noun after "a carnival". What no rule knows is a noun.
`shallow_parser.py` makes sentences of it.
"""

import functools
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

PATH = Path(__file__).resolve().parent / "lexicon.json"
LISTS = (  # of lexicon.json, as they stand there
    "animate", "movers", "parts_of_a_body", "no_adverbs", "no_verbs", "participles", "many",
    "watched", "before_a_noun", "worn", "particles", "like_be", "painted", "articles",
)  # fmt: skip
ANIMALS, PEOPLE = "dog cat bird horse cow sheep", "man woman child person"
WORN = "shirt hat jacket dress"
_TOKEN = re.compile(r"[a-z0-9]+(?:[-'][a-z0-9]+)*|[,.;:!?]")


class Token(NamedTuple):
    """A word, its tag and, of a verb, its base form."""

    word: str
    tag: str
    base: str = ""


class Lexicon:
    """`lexicon.json`: the words of pairs, and the lists that tell adjectives and verbs from nouns.

    Attributes:
        heads: kind ("nouns", "adjectives", "verbs") -> head -> the words that count for it; of a
            verb the base forms.
        verbs: form -> (base, s, ing, past or state; base form of the verb), of every verb.
        lists: the lists of `LISTS`, by name.
        animate, movers, animals, worn, adjectives: nouns that live, that move, ..., adjectives.
        plural, singular: forms of the nouns that pairs may have.
        tags: function word -> its tag.
    """

    def __init__(self, path: Path = PATH):
        stored = json.loads(path.read_text(encoding="utf-8"))
        self.heads: dict[str, dict[str, set[str]]] = {"nouns": {}, "adjectives": {}, "verbs": {}}
        for head, lines in stored["nouns"].items():
            self.heads["nouns"][head] = _words(lines)
        for head, line in stored["adjectives"].items():
            self.heads["adjectives"][head] = _words([line])
        self.verbs: dict[str, list[tuple[str, str]]] = {}  # form -> (kind, base)
        for base in stored["other_verbs"].split():
            self._add_verb(base, inflect(base))
        for head, lines in stored["verbs"].items():
            self.heads["verbs"][head] = {line.split()[0].lstrip("=") for line in lines}
            for line in lines:
                self._add_verb(line.split()[0].lstrip("="), line.split())
        self.adjectives = _words([stored["other_adjectives"]])
        self.adjectives |= set().union(*self.heads["adjectives"].values())
        self.lists = {name: set(stored[name].split()) for name in LISTS}
        nouns = self.heads["nouns"]
        self.animals = set().union(*(nouns[name] for name in ANIMALS.split()))
        self.animate = self.animals.union(*(nouns[name] for name in PEOPLE.split()))
        self.animate |= self.lists["animate"]
        self.movers = self.lists["movers"]
        self.worn = self.lists["worn"].union(*(nouns[name] for name in WORN.split()))
        self.plural = {word for lines in stored["nouns"].values() for word in _plurals(lines)}
        self.singular = {line.split()[0] for lines in stored["nouns"].values() for line in lines}
        ends = sorted(stored["other_things"], key=len, reverse=True)
        self.joined = re.compile(rf"\b({'|'.join(map(re.escape, ends))})\b")
        self.tags = {
            word: tag for tag, words in stored["function_words"].items() for word in words.split()
        }

    def _add_verb(self, base: str, forms: list[str]) -> None:
        state = [form.lstrip("=") for form in forms if form.startswith("=")]
        plain = [form for form in forms if not form.startswith("=")]
        for kind, form in zip(("base", "s", "ing", "past"), plain, strict=False):
            own = self.verbs.setdefault(form, [])
            if (kind, base) not in own:
                own.insert(0, (kind, base))
        for form in state:
            self.verbs.setdefault(form, []).insert(0, ("state", base))


def _words(lines: Iterable[str]) -> set[str]:
    return {word for line in lines for word in line.split()}


def _plurals(lines: list[str]) -> set[str]:
    return {word for line in lines for word in line.split()[1:]}


def inflect(base: str) -> list[str]:
    """Base, -s, -ing and -ed forms of a regular verb."""
    if base.endswith(("s", "sh", "ch", "x", "z", "o")):
        third = f"{base}es"
    else:
        third = f"{base[:-1]}ies" if re.search(r"[^aeiou]y$", base) else f"{base}s"
    stem = base
    if re.search(r"[^aeiou]e$|[ui]e$", base):
        stem = f"{base[:-2]}y" if base.endswith("ie") else base[:-1]
    elif re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", base):
        stem = base + base[-1]  # chop, chopping
    past = f"{base[:-1]}ied" if re.search(r"[^aeiou]y$", base) else f"{stem}ed"
    return [base, third, f"{stem}ing", past]


@functools.cache
def lexicon() -> Lexicon:
    """The lexicon, read once."""
    return Lexicon()


# Tags.


def tokens_of(caption: str) -> list[str]:
    """Words in lower case, hyphened ones whole, and marks that end or part a sentence."""
    text = caption.lower().replace("’", "'").replace(" 's", "'s").replace(" - ", " ")
    text = text.replace("-and-", " and ")
    text = lexicon().joined.sub(lambda found: re.sub("[ -]", "_", found[0]), text)
    return _TOKEN.findall(text.replace("_", ""))


def tag(words: list[str]) -> list[Token]:
    """A tag for each word: DET PREP AND COMMA NEW REL BE AUX PRON ADV END POSS ADJ MOD NOUN VERB
    (finite) ING STATE PART TO (an infinitive).
    """
    tokens: list[Token] = []
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else "."
        tokens.append(_tag_one(word, following, tokens))
    return tokens


def _tag_one(word: str, following: str, before: list[Token]) -> Token:
    known, last = lexicon(), before[-1].tag if before else "END"
    if word in ",.;:!?":
        return Token(word, "COMMA" if word == "," else "END")
    if word.endswith(("'s", "s'")):
        return Token(word.rstrip("'s"), "POSS")
    if word in known.tags:
        found = known.tags[word]
        if word == "that" and last != "NOUN":
            found = "DET"
        if found == "DET" and word not in known.lists["articles"] and not _begins_noun(following):
            found = "PRON"
        return Token(word, found)
    modifies = last in ("DET", "ADJ", "MOD", "POSS") or (last == "AND" and _described(before))
    if last == "ADJ" and len(before) > 1 and following not in known.worn:
        # A woman in purple rides; a dog that is brown waits.
        modifies = before[-2].word != "in" and before[-2].base not in ("wear", "dress")
        modifies &= before[-2].tag != "BE" or "s" not in dict(known.verbs.get(word, ()))
    if word.endswith("ing") and word not in known.lists["no_verbs"]:
        base = next((base for kind, base in known.verbs.get(word, ()) if kind == "ing"), "")
        flying = last == "PREP" and following in known.animate | known.movers
        flying = flying and before[-1].word not in ("by", "for", "from", "after", "before")
        if (modifies and _is_noun(following)) or flying:
            return Token(word, "MOD", base)
        return Token(word, "ING", base or word)
    alone = word in known.animate and (  # a female rides
        not _begins_noun(following) or "s" in dict(known.verbs.get(following, ()))
    )
    if word in known.adjectives and not alone:
        return Token(word, "ADJ")
    if word.endswith("ly") and word not in known.lists["no_adverbs"]:
        return Token(word, "ADV")
    if not modifies and (verb := _finite(word, following, before)):
        return verb
    if word in known.lists["participles"] and not modifies:
        return Token(word, "PART")
    if (
        word.endswith(("ed", "en"))
        and word not in known.lists["no_verbs"] | known.singular | known.plural
    ):
        if _is_noun(following) and last != "BE":
            return Token(word, "MOD")
        if word.endswith("ed"):
            return Token(word, "PART")
    doer = last == "NOUN" and before[-1].word in known.animate - known.plural
    if doer and word.endswith("s") and word not in known.plural and not _is_noun(following):
        return Token(word, "VERB", word)  # a verb that the lists lack
    return Token(word, "NOUN")


def _finite(word: str, following: str, before: list[Token]) -> Token | None:
    """The word as a verb, where its form agrees with what stands before it."""
    known = lexicon()
    last = next((token for token in reversed(before) if token.tag != "ADV"), Token("", "END"))
    for kind, base in known.verbs.get(word, ()):
        if last.word == "to" and kind == "base":
            return Token(word, "TO", base)
        if kind == "state":
            return Token(word, "PART" if following == "by" else "STATE", base)
        if last.tag == "BE":
            return None if kind == "base" else Token(word, "PART")
        if last.tag == "AUX":
            had = kind == "past" and last.word in ("has", "have", "had")
            return Token(word, "VERB", base) if had or kind == "base" else None
        if kind == "base" and last.tag == "NOUN" and _is_watched(before):
            return Token(word, "ING", base)
        if not _may_follow(last, following, before):
            continue
        if kind == "past":
            by = following == "by" and word.endswith("ed")
            return Token(word, "PART" if by else "VERB", base)
        if kind == "base" and not (_is_plural(last.word) or _many(last, before)):
            continue
        return Token(word, "VERB", base)
    return None


def _may_follow(last: Token, following: str, before: list[Token]) -> bool:
    """Whether a finite verb may stand behind the last word but adverbs."""
    if last.tag in ("NOUN", "REL", "PRON", "PART", "ADJ"):
        return True
    if last.tag == "PREP":
        return last.word in lexicon().lists["particles"]
    if last.tag == "COMMA" and not _is_noun(following):
        return any(token.tag == "NOUN" for token in before)
    return last.tag in ("AND", "COMMA") and any(token.tag in ("VERB", "ING") for token in before)


def _is_watched(before: list[Token]) -> bool:
    """Whether the noun is one living thing that somebody watches do something."""
    if before[-1].word not in lexicon().animate or _is_plural(before[-1].word):
        return False
    return any(token.base in lexicon().lists["watched"] for token in before)


def _many(last: Token, before: list[Token]) -> bool:
    """Whether the subject may be many, though the noun before is one: men in uniform stand."""
    if last.tag == "NOUN" and last.word in lexicon().lists["before_a_noun"]:
        return False
    if last.tag in ("REL", "PRON", "AND", "COMMA"):
        return True
    begin = max((at for at, token in enumerate(before) if token.tag in ("NEW", "END")), default=-1)
    own = before[begin + 1 :]
    if any(token.tag in ("VERB", "BE") for token in own):
        return False
    plural = any(token.tag == "NOUN" and _is_plural(token.word) for token in own)
    tags = [token.tag for token in own]
    plural = plural or ("AND", "DET") in itertools.pairwise(tags)  # a black and a brown
    return plural or sum(token.word in lexicon().animate for token in own) > 1


def _is_plural(word: str) -> bool:
    known = lexicon()
    irregular = {"people", "men", "women", "children", "police", "sheep", "cattle", "fish", "geese"}
    if word in known.plural | irregular:
        return True
    return word.endswith("s") and not word.endswith("ss") and word not in known.singular


def _described(before: list[Token]) -> bool:
    """Whether an adjective stands before an "and"."""
    return len(before) > 1 and before[-2].tag in ("ADJ", "MOD")


def _begins_noun(word: str) -> bool:
    """Whether a word may begin or go on a noun phrase: no function word and no -ing before one."""
    known = lexicon()
    if word in known.tags:
        return known.tags[word] == "DET"
    return word[0].isalnum() and (not word.endswith("ing") or word in known.lists["no_verbs"])


def _is_noun(word: str) -> bool:
    """Whether a word goes on a noun phrase: an adjective or a noun."""
    known = lexicon()
    return _begins_noun(word) and word not in known.tags and not word.endswith("ly")

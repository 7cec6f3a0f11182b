r"""What a caption says of its things, and what they do: a parser of rules, without a model.

    read_facts("A black and white dog is sitting by the man who eats")
    # {("black", "dog"), ("white", "dog")}, {("sit", "dog"), ("eat", "man")}

Words get a tag from the lists of `lexicon.json` and their neighbours; noun phrases are cut out; the
sentence is gone through once, and each adjective and verb finds its noun by these rules:

    adjective   in the noun phrase, before its last noun: a brown dog, a brown hunting dog; joined
                ones too: brown and white dog. Not before haired, eyed, ...: a black haired man,
                unless the noun is an animal.
                After a form of be, look, painted: the dog is brown, a door painted red.
                Between commas: a dog, brown and white, runs.
    verb        finite: the subject is the sentence's first noun phrase, over what hangs on it: a
                man with a dog eats. After who, which, that: the nearest. Joined subjects and
                joined verbs count all: a man and a woman sit and eat. After as, while, ... a new
                sentence begins; without a noun the old subject goes on: while eating; as he eats.
                -ing, or seated, parked, ...: the nearest noun phrase that lives or moves: a man in
                a hat eating. After a comma or another verb, that one's subject. Before a noun it
                tells of the noun: a sitting cat.
    neither     a noun before another noun (white car door), a possessor (the dog's brown bone has
                no brown dog), what is done to a thing (a horse ridden by a woman), what is yet to
                be done (wants to eat), what pronouns mean.

Verbs are given in their base form, nouns and adjectives as they stand.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from data.pairs.tagging import Token, lexicon, tag, tokens_of

THEY = {"they", "he", "she", "it"}  # pronouns that the subject before goes on as


# Noun phrases.


@dataclass
class Phrase:
    """A noun phrase, or adjectives without a noun (head "")."""

    head: str
    adjectives: list[str] = field(default_factory=list)
    doing: list[str] = field(default_factory=list)  # -ing words before the noun, base forms
    first: str = ""  # word of it

    tag = "PHRASE"

    @property
    def word(self) -> str:
        return self.head


def cut_phrases(tokens: list[Token]) -> list[Any]:
    """Tokens with their noun phrases cut out: a list of `Token` and `Phrase`."""
    found: list[Any] = []
    place = 0
    while place < len(tokens):
        phrase, end = _phrase_at(tokens, place)
        if phrase is None:
            found.append(tokens[place])
            place += 1
        else:
            found.append(phrase)
            place = end
    return found


def _phrase_at(tokens: list[Token], start: int) -> tuple[Phrase | None, int]:
    """The noun phrase that begins at a place, and where it ends; None where there is none."""
    phrase, place = Phrase("", first=tokens[start].word), start
    of_hair, joint = [], -1
    while place < len(tokens):
        token = tokens[place]
        later = tokens[place + 1].tag if place + 1 < len(tokens) else "END"
        if token.tag == "DET" and not phrase.head and place in (start, joint):
            pass
        elif token.tag in ("ADJ", "MOD") and (not phrase.head or token.tag == "MOD"):
            if token.word in lexicon().lists["parts_of_a_body"]:
                of_hair, phrase.adjectives = phrase.adjectives, []
            elif token.tag == "ADJ":
                phrase.adjectives.append(token.word)
            elif token.base:
                phrase.doing.append(token.base)
            phrase.head = ""
        elif token.tag == "NOUN":
            phrase.head = token.word
        elif token.tag == "ADV" and not phrase.head and later in ("ADJ", "MOD"):
            pass
        elif token.tag in ("AND", "COMMA") and not phrase.head and phrase.adjectives:
            if later == "DET" and _is_second(tokens, start, place):
                joint = place + 1
            elif later not in ("ADJ", "MOD", "ADV", "AND"):
                break
        else:
            break
        place += 1
    if phrase.head in lexicon().animals:
        phrase.adjectives += of_hair
    if place == start or not (phrase.head or phrase.adjectives):
        return None, start + 1
    if tokens[place - 1].tag in ("AND", "COMMA", "ADV"):
        place -= 1
    return phrase, place


def _is_second(tokens: list[Token], start: int, place: int) -> bool:
    """Whether an "and" joins adjectives with an article each: a brown and a black dog."""
    within = start > 0 and tokens[start - 1].word == "in"  # a man in black and a white dog
    after = tokens[place + 1 : place + 3]
    return not within and [token.tag for token in after] == ["DET", "ADJ"]


# Facts.


class Facts(NamedTuple):
    """What a caption says: (adjective, noun) and (base form of a verb, noun)."""

    described: set[tuple[str, str]]
    doing: set[tuple[str, str]]


def read_facts(caption: str) -> Facts:
    """What a caption says of its things, and what they do, by the rules of this module."""
    facts = Facts(set(), set())
    walk = _Walk(facts)
    for item in cut_phrases(tag(tokens_of(caption))):
        walk.step(item)
    return facts


Group = list[str]  # nouns that are joined


class _Nouns:
    """The nouns of a sentence so far, and which of them a verb would tell of."""

    def __init__(self):
        self.main: Group = []  # the subject of the sentence
        self.doer: Group = []  # the subject of the verb before
        self.before: Group = []  # the subject of the sentence before
        self.chain: list[Group] = []  # the last noun phrase, with what hangs on it
        self.latest: Group = []  # the last noun phrase alone
        self.finite = self.has_verb = self.relative = False
        self.newly = False  # the last noun phrase came by "and" after a verb

    def clear(self) -> None:
        """A clause begins: no noun has come yet."""
        self.main, self.chain, self.latest = [], [], []
        self.finite = self.has_verb = self.relative = self.newly = False

    def join(self, head: str) -> None:
        """A noun after "and": joins the nearest noun of its sort, living or not."""
        living = lexicon().animate
        for place in reversed(range(len(self.chain))):
            if (head in living) == any(noun in living for noun in self.chain[place]):
                self.chain[place].append(head)
                del self.chain[place + 1 :]
                self.newly = self.has_verb
                return
        if self.has_verb and head in living and not self.finite:
            self.main.append(head)
        self.chain, self.newly = [[head]], True

    def nearest(self) -> Group:
        """The nearest noun that lives; or that moves, where nothing lives; or the last subject."""
        known = lexicon()
        for group in reversed(self.chain):
            if any(noun in known.animate for noun in group):
                return group
        if self.chain and any(noun in known.movers for noun in self.chain[0]):
            return self.chain[0]
        if any(noun in known.animate for noun in self.doer):
            return self.doer
        return self.chain[-1] if self.chain else self.main


class _Walk(_Nouns):
    """Goes through a sentence once: what each phrase and token says."""

    def __init__(self, facts: Facts):
        super().__init__()
        self.facts = facts
        self.last = Token("", "END")  # but for adverbs
        self.be = False
        self.fronted = False  # what stands before the comma, and before the subject

    def step(self, item: Any) -> None:
        """Takes one token or phrase."""
        if item.tag in ("ADV", "AUX", "DET"):
            return
        if self.last.tag == "END" and item.tag in ("PREP", "NEW", "ING"):
            self.fronted = True
        takes = getattr(self, f"_{item.tag.lower()}", None)
        if takes:
            takes(item)
        self.be = item.tag == "BE"
        self.last = item

    def _phrase(self, item: Phrase) -> None:
        if not item.head:
            self._bare(item)
            return
        self.facts.described.update((word, item.head) for word in item.adjectives)
        self.facts.doing.update((verb, item.head) for verb in item.doing)
        self.latest, self.newly = [item.head], False
        joined = self.last.tag in ("AND", "COMMA")
        if self.last.word == "of" and self.chain and self.chain[-1][-1] in lexicon().lists["many"]:
            self.chain[-1][-1] = item.head
        elif self.last.tag == "PREP" and self.chain:
            self.chain.append([item.head])
        elif self.last.tag == "PHRASE" and self.chain:
            self.chain[-1] = [item.head]  # an adjective that the lists lack stood between
        elif joined and self.chain:
            self.join(item.head)
        else:
            self.chain = [[item.head]]
        if not self.main and not self.has_verb:
            self.main = self.chain[0]

    def _bare(self, item: Phrase) -> None:
        """Adjectives without a noun: the dog is brown."""
        verb = getattr(self.last, "base", "")
        if self.be or verb in lexicon().lists["like_be"]:
            subject = self.latest if self.relative else self._subject()
        elif self.last.word in lexicon().lists["painted"]:
            subject = self.latest
        elif item.first == "one":
            subject = self.main or self.doer  # two dogs, one brown and one white
        elif self.last.tag == "COMMA" and not self.has_verb:
            subject = self.main
        else:
            return
        self.facts.described.update((word, noun) for word in item.adjectives for noun in subject)

    def _poss(self, item: Token) -> None:
        self.latest = [item.word]

    def _rel(self, item: Token) -> None:
        self.relative = True

    def _new(self, item: Token) -> None:
        self.doer = self.doer or self.main
        self.before = self.main or self.doer
        self.clear()

    def _end(self, item: Token) -> None:
        self.before, self.doer, self.fronted = [], [], False
        self.clear()

    def _comma(self, item: Token) -> None:
        if self.fronted:
            self._end(item)

    def _pron(self, item: Token) -> None:
        if item.word in THEY and not self.main and not self.chain:
            self.main = list(self.before)
            self.chain = [self.main]

    def _subject(self) -> Group:
        """Whose finite verb comes now."""
        if self.last.tag in ("AND", "COMMA") and self.doer:
            return self.doer
        if self.finite and self.newly:
            self.main, self.finite = self.latest, False
        return self.main or self.doer

    def _verb(self, item: Token) -> None:
        if self.relative and self.last.tag == "REL":
            self._done(item, self.nearest() or self.latest)
        else:
            self._done(item, self._subject())
            self.finite = True

    def _state(self, item: Token) -> None:
        self._ing(item)

    def _ing(self, item: Token) -> None:
        living = lexicon().animate
        if self.be and self.relative:
            self._done(item, self.nearest() or self.latest)
            self.relative = False
        elif self.be:
            self._done(item, self._subject())
            self.finite = True
        elif self.last.tag in ("AND", "VERB", "ING", "STATE", "PART") and self.doer:
            self._done(item, self.doer)
        elif self.last.tag == "COMMA" and self.main:
            self._done(item, self.main)
        elif self.last.tag == "NEW":
            self.main = list(self.before)
            self._done(item, self.main)
        elif self.last.tag == "PREP":
            if self.last.word in lexicon().lists["particles"]:
                self._done(item, self.doer or self.main)
        elif self.newly and self.latest and self.latest[0] in living:
            self._done(item, self.latest)
        else:
            self._done(item, self.nearest())

    def _done(self, item: Token, subject: Group) -> None:
        self.facts.doing.update((item.base, noun) for noun in subject)
        self.doer, self.has_verb = list(subject), True
        self.chain, self.newly = [], False

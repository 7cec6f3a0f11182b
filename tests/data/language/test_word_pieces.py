"""Word pieces: the published ids, odd Unicode, learned vocabularies."""

import random
import subprocess
import sys

import pytest
from conftest import ROOT, SHARED

from data.language import word_pieces
from data.language.word_pieces import WordPieces, bert_words, learn_pieces, read_vocabulary

BERT = SHARED / "words" / "bert_base_uncased_vocab.txt"
WORDS = [
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "dog",
    "##s",
    "run",
    "##ning",
    ".",
    "e",
    "中",
    "犬",
    "'",
    "x",
]
WORDS += ["##x", "ᄒ", "##ᅡ", "##ᆫ", "!", "-"]
PIECES = WordPieces(WORDS)
IDS = {word: number for number, word in enumerate(WORDS, start=1)}
ODD = [
    "",
    " \t\r\n ",
    "a dog 😀",
    "a 🥱 dog",
    "👩‍👩‍👧 a",
    "e\u0301 \u00e9 e\u0323\u0301",
    "a中犬dog",
    "שלום a مرحبا",
    "d\u200bo\u200cg\u200d \u00ad\u202ea\ufeff",
    "d\x00o\x07g",
    "ᚠᚢᚦ 𐍈 𓀀",
    "x" * 100,
    "x" * 101,
    "é" * 100,
    "é" * 101,
    "한" * 40,
    "a \ud800 dog \udc00",
    "\ud83d\ude00",
    "ß ẞ İ ı ſ ŉ ǆ Σας ΣΑΣ ﬁ ½ ª Ａ",
    "[CLS] [MASK] [SEP] [PAD] [UNK] ##s",
    "dogs' running... dog-dogs!",
    "a\ufffdb\u00a0c\u3000d\u2028e\u2029f\u0085g",
    "नमस्ते ก่อน",
    "dog " * 60,
    "\u0301 𝅘𝅥𝅮 ㌵𝅭ࣘ",
]


def random_captions(number, seed=0):
    """Text of any code points, ASCII often among them."""
    draw = random.Random(seed)
    ranges = [(0x20, 0x7F), (0, 0x3000), (0, 0x110000), (0xAC00, 0xD7A4)]
    return [
        "".join(chr(draw.randrange(*draw.choice(ranges))) for _ in range(draw.randint(0, 30)))
        for _ in range(number)
    ]


@pytest.mark.parametrize(
    ("caption", "pieces"),
    [
        ("A dog runs.", "a dog run ##s ."),
        ("Running DOGS", "run ##ning dog ##s"),
        ("dogs' cat", "dog ##s ' [UNK]"),
        ("中犬", "中 犬"),
        ("\u00c9 e\u0301", "e e"),
        ("한", "ᄒ ##ᅡ ##ᆫ"),
        ("", ""),
    ],
)
def test_captions_are_cut_into_the_longest_pieces(caption, pieces):
    assert PIECES.cut(caption) == pieces.split()
    assert PIECES.encode(caption) == [2, *(IDS[piece] for piece in pieces.split()), 3]


@pytest.mark.skipif(not BERT.is_file(), reason="needs BERT's vocabulary")
def test_ids_are_those_of_the_published_vocabulary():
    words = read_vocabulary(BERT)
    assert len(words) == 30521
    pieces = WordPieces(words)
    assert (pieces.unknown, pieces.start, pieces.end) == (100, 101, 102)
    cut = " ".join(pieces.cut("The caf\u00e9's unaffable!"))
    assert cut == "the cafe ' s una ##ffa ##ble !"
    assert pieces.encode("Hello, my dog is cute") == [101, 7592, 1010, 2026, 3899, 2003, 10140, 102]


def test_the_start_the_end_and_thirty_pieces_are_kept():
    ids = PIECES.encode("dog " * 60)
    assert len(ids) == 32
    assert ids[0] == PIECES.start and ids[-1] == PIECES.end
    assert PIECES.encode("dog " * 30) == ids


def test_a_word_of_more_than_a_hundred_letters_is_unknown():
    assert PIECES.cut("x" * 100) == ["x"] + ["##x"] * 99
    assert PIECES.cut("x" * 101) == ["[UNK]"]
    assert PIECES.knows("x" * 100) and not PIECES.knows("x" * 101)
    assert PIECES.knows("dogs") and not PIECES.knows("cat")


def test_words_before_they_are_cut():
    words = " ".join(bert_words("The Caf\u00e9's dog-house\u2026"))
    assert words == "the cafe ' s dog - house …"
    assert bert_words("[CLS] a\ud800b") == ["[", "cls", "]", "ab"]


def test_special_words_of_a_caption_are_no_special_pieces():
    ids = PIECES.encode("[CLS] [SEP]")
    assert ids.count(PIECES.start) == ids.count(PIECES.end) == 1


CASED = [
    *word_pieces.SPECIAL[1:],
    "A",
    "a",
    "Dog",
    "dog",
    "##s",
    "Caf\u00e9",
    "Cafe",
    "\u4e2d",
    ".",
]


@pytest.mark.parametrize("cased", [False, True])
def test_ids_are_those_of_the_library_itself(cased):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    ids = {word: i for i, word in enumerate(CASED, 1)} if cased else IDS
    pieces = WordPieces(CASED, cased=True) if cased else PIECES
    whole = Tokenizer(models.WordPiece({**ids, "[PAD]": 0}, unk_token="[UNK]"))
    whole.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    whole.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    own = ["A Dog. dogs a Caf\u00e9 Cafe\u0301 \u4e2d\u4e2d DOG"]
    for caption in own + ODD + random_captions(500):
        clean = caption.encode("utf-8", "ignore").decode()
        assert pieces.cut(caption) == whole.encode(clean).tokens, ascii(caption)


def test_a_vocabulary_with_capitals_is_cased():
    assert word_pieces.are_cased(CASED)
    assert not word_pieces.are_cased([*word_pieces.SPECIAL, "dog", "##s", "\u4e2d", "caf\u00e9"])
    assert WordPieces(CASED, cased=True).cut("A Dog") == ["A", "Dog"]
    assert WordPieces(CASED).cut("A Dog") == ["a", "dog"]


CAPTIONS = ["a dog runs", "two dogs running", "a caf\u00e9 , a dog", "dogs run \u4e2d"] * 3


def test_learned_pieces_spell_every_word_of_their_letters():
    words = learn_pieces(CAPTIONS, 80)
    assert words[:4] == ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(words) < 80 and len(set(words)) == len(words)
    pieces = WordPieces(words)
    assert pieces.cut("a dog") == ["a", "dog"]
    assert pieces.knows("frog") and pieces.knows("gnudfr")  # each letter stands everywhere
    assert not pieces.knows("zebra")


def test_no_piece_is_longer_than_tensorflow_text_takes():
    captions = ["a dog", "x" * 300, "\U00010331" * 80, "y" * 100] * 3
    words = learn_pieces(captions, 1000)
    assert "y" * 100 in words and max(len(word) for word in words) == 100
    assert max(len(word.encode()) for word in words) <= word_pieces.BYTES
    pieces = WordPieces(words)
    assert pieces.cut("x" * 300) == ["[UNK]"]
    assert len(pieces.cut("\U00010331" * 80)) == 80  # letter by letter


def test_learned_pieces_depend_on_nothing_but_the_captions():
    code = (
        "import sys; from data.language import word_pieces; c = sys.argv[1].split('|');"
        "print('|'.join(word_pieces.learn_pieces(c, 300)), 'tensorflow' in sys.modules)"
    )
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdef", k=draw.randint(1, 6))) for _ in range(300)]
    captions = [" ".join(draw.choices(words, k=6)) for _ in range(60)]
    found = "|".join(learn_pieces(captions[::-1], 300))
    for threads in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code, "|".join(captions)],
            cwd=ROOT,
            env={"RAYON_NUM_THREADS": threads, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
        )
        assert run.stdout.decode() == f"{found} False\n"


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(ValueError, match="no caption has a word"):
        learn_pieces(["", " "], 100)
    with pytest.raises(ValueError, match=r"10 word pieces are too few.*need 13; raise max_words"):
        learn_pieces(["abcd"], 10)


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lacks \\[CLS\\]"):
        WordPieces(["[UNK]", "[SEP]"])
    path = tmp_path / "vocab.txt"
    with pytest.raises(ValueError, match="cannot be read"):
        read_vocabulary(path)
    for content, fault in (
        (b"a\nb\n", "lacks"),
        (b"a\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "begins with 'a'"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n", "'a' more than once"),
        (b"[PAD]\n[UNK]\n\n[CLS]\n[SEP]\na\n", "line 3: a word piece of 0 bytes"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n" + b"a" * 257, "line 5: a word piece of 257 bytes"),
        (b"\xff\xfe", "cannot be read"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=fault):
            read_vocabulary(path)
    path.write_bytes(b"[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\na")
    assert read_vocabulary(path) == ["[UNK]", "[CLS]", "[SEP]", "a"]

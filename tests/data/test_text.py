"""Text is its characters: chunks give it back, splits are its parts, floors are code lengths that one can count by hand."""

import gzip
import math
from pathlib import Path

import pytest
import torch

from difflab.data.text import UNKNOWN
from difflab.errors import ConfigError


@pytest.fixture
def of(make, tmp_path: Path):
    """of(text, **changes): the data set of a file with that text (bytes: as they are)."""

    def of(text: str | bytes, **changes):
        path = tmp_path / "some.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return make("text", **{"path": str(path), "length": 4, "val_fraction": 0.25, "test_fraction": 0.25} | changes)

    return of


def test_the_packages_own_text(make):
    data = make("text")
    assert (data.shape, data.levels, data.train.x.dtype) == ((1, 1, 64), 103, torch.uint8)
    assert [len(split) for split in (data.train, data.val, data.test)] == [4956, 291, 583]
    assert "PSF licence" in data.source and not any(data.unknown.values())
    floors = data.floors()
    assert floors == pytest.approx({"uniform": math.log2(103), "unigram": 4.6791, "bigram": 3.4697}, abs=1e-4)
    licence = (Path(__file__).parents[2] / "difflab/data/text_LICENSE.txt").read_text()
    assert "Python Software Foundation; All Rights Reserved" in licence and "Summary of the changes" in licence


def test_the_held_out_parts_of_the_packages_text_repeat_nothing(make):
    """Paragraphs of the training part, longer than a few words, do not come again."""
    data = make("text")
    train, test = ("".join(data.text(split.x[:])) for split in (data.train, data.test))
    blocks = [block for block in test.split("\n\n") if len(block) > 80]
    assert len(blocks) > 100 and not [block for block in blocks[1:-1] if f"\n\n{block}\n\n" in train]


def test_chunks_are_the_parts_in_order_without_their_remainders(of):
    data = of("abcdefghijklmnopabcdefabcdefgh", min_count=1)  # 30 characters: 16, 7 and 7
    assert data.text(data.train.x) == ["abcd", "efgh", "ijkl", "mnop"]
    assert data.text(data.val.x) == ["abcd"] and data.text(data.test.x) == ["bcde"]
    assert torch.cat([data.train.index, data.val.index, data.test.index]).tolist() == list(range(6))
    assert data.alphabet == "abcdefghijklmnop" and data.train.x[0].flatten().tolist() == [0, 1, 2, 3]


def test_states_go_to_the_models_units_and_back(of):
    data = of("wörld→world " * 8)
    x = data.test.x
    assert torch.equal(data.from_unit(data.to_unit(x)), x)
    near = data.to_unit(x) + torch.linspace(-0.4, 0.4, x.numel()).view(x.shape) * 2 / (data.levels - 1)
    assert data.text(data.from_unit(near)) == data.text(x)
    far = torch.tensor([-3.0, 3.0, math.inf, -math.inf]).view(1, 1, 1, 4)
    assert data.text(data.from_unit(far)) == [data.alphabet[0] + 2 * data.alphabet[-1] + data.alphabet[0]]


def test_unknown_characters_are_one_state_and_counted(of):
    data = of("aabbaabb" + "abxy" + "zabx")  # 16 characters, parts of 8, 4 and 4
    assert data.alphabet == "ab" + UNKNOWN and data.levels == 3
    assert data.text(data.val.x) == [f"ab{UNKNOWN}{UNKNOWN}"] and data.text(data.test.x) == [f"{UNKNOWN}ab{UNKNOWN}"]
    assert data.unknown == {"train": 0, "val": 2, "test": 2} and "2 in val, 2 in test" in data.source
    rare = of("aabbaabc" + "abca" + "aabc", min_count=3)  # as many as b has
    assert rare.alphabet == "ab" + UNKNOWN and rare.unknown == {"train": 1, "val": 1, "test": 1}


def test_floors_are_the_smoothed_counts_of_states_and_pairs(of):
    """Training aaab aaab: a 6, b 2; pairs aa 4, ab 2. One half is added to each count."""
    floors = of("aaabaaab" + "aaab" + "abba").floors()
    a, b = 6.5 / 9, 2.5 / 9
    aa, ab, ba, bb = 4.5 / 7, 2.5 / 7, 0.5, 0.5
    assert floors["uniform"] == 1
    assert floors["unigram"] == pytest.approx(-(2 * math.log2(a) + 2 * math.log2(b)) / 4)
    assert floors["bigram"] == pytest.approx(-(math.log2(a) + math.log2(ab) + math.log2(bb) + math.log2(ba)) / 4)
    assert aa + ab == 1


def test_neither_states_nor_splits_depend_on_the_limit(of):
    text = "abcdefgh" * 8
    whole, few = of(text), of(text, limit=1)
    assert torch.equal(few.train.x, whole.train.x[:1]) and few.sha256["test"] == whole.sha256["test"]
    assert few.levels == whole.levels == 8


def test_a_gzipped_file_and_a_byte_order_mark_are_no_other_text(of):
    text = "abcdefgh" * 8
    assert of(gzip.compress(text.encode())).sha256 == of(text).sha256 == of("\ufeff" + text).sha256
    assert of(text.replace("a", "\r\n")).levels == 9  # a line's end stays as it is


def test_samples_are_lines(of, tmp_path):
    data = of("ab\ncd\tef" * 8)
    x = data.to_unit(data.train.x[:2])
    path = data.show(x, tmp_path / "samples" / "step_4-ddim-0.5")
    assert path == tmp_path / "samples" / "step_4-ddim-0.5.txt"
    assert path.read_text(encoding="utf-8") == "ab⏎c\nd·ef\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00a" * 20, r"is not UTF-8 \(byte 0\).*iconv"),
        (b"\x1f\x8b" + b"broken" * 20, "cannot be read"),
        ("abcd" * 3, r"is too short: its 12 characters leave no chunk of data\.length=4 for val and test"),
        ("a" * 100, "leaves 1 kind of characters"),
        ("".join(map(chr, range(1000, 1300))) * 4, r"300 kinds of characters.*raise data\.min_count"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(of, text, words):
    with pytest.raises(ConfigError, match=rf"data\.path=.*some\.txt.*{words}.*\.$"):
        of(text)


def test_a_missing_file_is_named(make, tmp_path):
    for path in (tmp_path / "nowhere.txt", tmp_path):
        with pytest.raises(ConfigError, match=rf"data\.path={path} cannot be read .*null"):
            make("text", path=str(path))


def test_so_many_kinds_become_few(of):
    text = "".join(map(chr, range(1000, 1300))) + "abcd" * 300
    assert of(text, min_count=2, val_fraction=0.1, test_fraction=0.1).alphabet == "abcd" + UNKNOWN


@pytest.mark.parametrize(
    ("key", "value"), [("length", 0), ("length", 5000), ("min_count", 0), ("val_fraction", 0.0), ("test_fraction", 0.8), ("limit", 0)]
)  # fmt: skip
def test_a_value_out_of_range_is_named(of, key, value):
    with pytest.raises(ConfigError, match=rf"data\.{key}={value}.*\.$"):
        of("abcdefgh" * 8, **{key: value})

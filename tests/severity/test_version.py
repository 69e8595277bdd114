"""Which scorer it is: its code and data, not their comments."""

import ast
import shutil

import pytest

from negalign_train.severity import version
from negalign_train.severity.version import scorer_version, syntax
from negalign_train.vocabulary.resources import data_path

CODE = '''
def price(weight):
    """Doc."""
    return 1 - weight  # a comment
'''


def digest(code: str):
    return syntax(ast.parse(code))


def test_comments_docstrings_and_layout_are_the_same_scorer_and_a_number_is_not():
    assert digest(CODE) == digest("def price(weight):\n    '''More.'''\n\n    return (1 - weight)")
    assert digest(CODE) == digest("from somewhere import else_" + CODE)
    assert digest(CODE) != digest(CODE.replace("1 -", "2 -"))
    assert digest("x = None") != digest("x = 0")
    assert digest("x = 1") != digest("x = True")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A copy of the data folder that the version is taken of."""
    folder = tmp_path / "data"
    shutil.copytree(data_path("lexicon.yaml").parent, folder)
    monkeypatch.setattr(version, "data_path", lambda name: folder / name)
    return folder


def test_a_changed_word_of_the_lexicon_is_another_scorer_and_a_comment_is_not(data):
    entry = "negalign_train.severity.judges.rules"
    before = scorer_version(entry)
    lexicon = data / "lexicon.yaml"
    text = lexicon.read_text(encoding="utf-8")
    lexicon.write_text("# a comment\n" + text, encoding="utf-8")
    assert scorer_version(entry) == before
    lexicon.write_text(text.replace("effusion", "efusion"), encoding="utf-8")
    assert scorer_version(entry) != before


def test_what_makes_a_score_is_in_it_and_what_uses_one_is_not():
    reached = {name.rpartition(".")[2] for name in version._reached(
        "negalign_train.severity.judges.rules"
    )}  # fmt: skip
    assert {"score", "compare", "facts", "lexicon", "context", "taxonomy"} <= reached
    assert not {"agreement", "calibration", "reward", "trust", "bootstrap"} & reached

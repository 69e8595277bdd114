"""The sentence encoder's files, and its real weights where the optional package is installed."""

from __future__ import annotations

import re
from importlib.util import find_spec

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from negalign_train.severity.judges.base import ReportPair
from negalign_train.severity.judges.encoder import sentence_encoder
from negalign_train.severity.judges.encoder.catalogue import catalogue
from negalign_train.severity.judges.encoder.judge import EncoderJudge
from negalign_train.severity.judges.encoder.sentence_encoder import (
    INSTALL,
    PACKAGE,
    SentenceEncoder,
    installed_encoder,
)
from negalign_train.severity.judges.opening import JudgeSetup, open_judge
from negalign_train.storage.fingerprint import file_sha256
from negalign_train.vocabulary.errors import DataError
from tests.tiny_judges import write_encoder

needs_weights = pytest.mark.skipif(
    find_spec(PACKAGE) is None, reason=f"the sentence encoder is not installed: {INSTALL}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def test_vectors_have_length_one_and_do_not_depend_on_their_batch(folder):
    texts = ["left mass", "no effusion of the right pleural space", "mass"]
    encoder = SentenceEncoder(folder, "cpu")
    together = encoder.vectors(texts)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0)
    alone = np.concatenate([SentenceEncoder(folder, "cpu").vectors([text]) for text in texts])
    assert together == pytest.approx(alone, abs=1e-5)
    assert not np.allclose(together[0], together[1])
    assert encoder.vectors(texts[::-1]) == pytest.approx(together[::-1])


def test_weights_are_loaded_with_the_first_text_and_not_before(folder, monkeypatch):
    loads = []
    monkeypatch.setattr(sentence_encoder, "_load", lambda path: loads.append(path))
    judge = open_judge(f"encoder:{folder}", JudgeSetup(device="cpu"))
    assert judge.version
    (judgement,) = judge.judge([ReportPair("Left mass.", "Right mass.")])
    assert judgement.judge == "encoder"
    assert loads == []
    with pytest.raises(AttributeError):
        judge.judge([ReportPair("Left mass.", "Zorbulation.")])
    assert loads == [folder]


def test_folders_that_hold_no_encoder_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="does not exist or holds no"):
        SentenceEncoder(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="weights are missing"):
        SentenceEncoder(broken).vectors(["mass"])


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sentence_encoder, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=re.escape(INSTALL)):
        open_judge("encoder", JudgeSetup())


@needs_weights
def test_the_real_encoder_reads_other_words_for_known_findings():
    judge = open_judge("encoder", JudgeSetup(device="cpu"))
    assert isinstance(judge, EncoderJudge)
    asked = {
        "fluid collects pleural spaces": "pleural_effusion",
        "air outlines pleural space apex": "pneumothorax",
        "cutaneous air": "subcutaneous_emphysema",
    }
    threshold = catalogue().threshold
    near = judge.nearest(list(asked))
    assert [one.finding for one in near] == list(asked.values())
    assert all(one.is_read(threshold) for one in near)
    quiet = ["discharged home with paracetamol", "abdomen", "please correlate clinically"]
    assert not any(one.is_read(threshold) for one in judge.nearest(quiet))


@needs_weights
def test_the_installed_weights_are_all_minilm_l6_v2():
    digest = file_sha256(installed_encoder() / "model.safetensors")
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

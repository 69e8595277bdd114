"""What a cycle refuses before any weight is loaded: folders here hold a config and a tokenizer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    BertConfig,
    Gemma3Config,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    RwkvConfig,
    T5Config,
)

from negalign_train.cycle.opening.plan import Context, LocatedRecipe
from negalign_train.cycle.opening.preflight import check_base, check_lengths
from negalign_train.preferences.files import write_pairs, write_unpaired
from negalign_train.preferences.replay import PAIRS_FILE, UNPAIRED_FILE
from negalign_train.recipe.base_kind import refuse_kind
from negalign_train.recipe.context_length import context_length
from negalign_train.recipe.cycle import CycleRecipe
from negalign_train.recipe.estimate import architecture_of
from negalign_train.storage.database import open_database
from negalign_train.storage.workspace import Workspace
from negalign_train.vocabulary.errors import CycleError, NegalignError, RecipeError
from tests.cycles import RECIPE, plan_of, run, small_recipe
from tests.tiny import make_pairs, make_unpaired
from tests.tokenizers_of_families import FAMILIES, Family, tokenizer_of

LLAMA: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 1, "max_position_embeddings": 2048,
    "architectures": ["LlamaForCausalLM"],
}  # fmt: skip


def context_of(
    folder: Path,
    config: Any = None,
    family: Family = FAMILIES["llama3"],
    template: str | None = None,
    recipe: CycleRecipe | None = None,
) -> Context:
    """A cycle that has not begun, on a base without weights."""
    model_dir = folder / "base"
    (config or LlamaConfig(**LLAMA)).save_pretrained(model_dir)
    tokenizer = tokenizer_of(family)
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(model_dir)
    place = Workspace(folder)
    recipe = recipe or small_recipe()
    return Context(
        plan_of(recipe), LocatedRecipe(recipe, RECIPE), place, open_database(place.database_url),
        model_dir,
    )  # fmt: skip


def test_a_base_that_fits_is_accepted_without_its_weights(tmp_path):
    check_base(context_of(tmp_path))


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (T5Config(architectures=["T5ForConditionalGeneration"]), "t5.* is an encoder-decoder"),
        (BertConfig(architectures=["BertForMaskedLM"]), r"bert\) is no generator of text"),
        (MambaConfig(architectures=["MambaForCausalLM"]), r"mamba\) is recurrent"),
        (RwkvConfig(architectures=["RwkvForCausalLM"]), r"rwkv\) is recurrent"),
        (Lfm2Config(architectures=["Lfm2ForCausalLM"]), r"lfm2\) is recurrent"),
    ],
)
def test_a_base_of_another_kind_is_refused_in_one_line(tmp_path, config, kind):
    context = context_of(tmp_path, config)
    with pytest.raises(RecipeError, match=kind) as refused:
        check_base(context)
    assert "\n" not in str(refused.value)
    # The estimate reads the same file, and never asks for weights.
    with pytest.raises(RecipeError, match=kind):
        architecture_of(context.model_dir)


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "GPT2LMHeadModel",
                                  "Gemma3ForConditionalGeneration"])  # fmt: skip
def test_a_decoder_is_of_the_right_kind(name):
    refuse_kind({"model_type": "x", "architectures": [name]}, "base")
    refuse_kind({"model_type": "x"}, "base")


@pytest.mark.parametrize("kind", ["conv", "linear_attention", "hybrid"])
def test_a_base_with_layers_that_keep_a_state_is_refused_whatever_it_is_called(kind):
    layers = ["full_attention", kind]
    for config in ({"layer_types": layers}, {"text_config": {"layer_types": layers}}):
        with pytest.raises(RecipeError, match="recurrent, or partly so"):
            refuse_kind({"model_type": "newest"} | config, "base")
    attention = ["full_attention", "sliding_attention", "chunked_attention"]
    refuse_kind({"model_type": "newest", "layer_types": attention}, "base")


def test_a_base_that_transformers_itself_calls_stateful_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(LlamaForCausalLM, "_is_stateful", True)
    with pytest.raises(RecipeError, match="recurrent, or partly so"):
        check_base(context_of(tmp_path))


def test_a_model_type_that_transformers_does_not_know_is_refused_in_one_line(tmp_path):
    context = context_of(tmp_path)
    path = context.model_dir / "config.json"
    path.write_text(json.dumps({"model_type": "newest", "architectures": ["NewForCausalLM"]}))
    with pytest.raises(RecipeError, match="cannot be read by the installed transformers"):
        check_base(context)


def test_a_composite_config_has_the_positions_and_the_shape_of_its_text_part(tmp_path):
    config = Gemma3Config(text_config={"max_position_embeddings": 777, "hidden_size": 64})
    assert context_length(config) == 777
    assert context_length(GPT2Config(n_positions=99)) == 99
    config.save_pretrained(tmp_path)
    assert architecture_of(tmp_path).hidden == 64


def test_targets_that_do_not_exist_are_told_with_their_candidate(tmp_path):
    data = small_recipe().model_dump(mode="json", by_alias=True)
    data["candidates"][0]["lora"]["target_modules"] = ["q_proj", "c_attn"]
    recipe = CycleRecipe.model_validate(data)
    name = recipe.candidates[0].name
    with pytest.raises(RecipeError, match=rf"candidate {name}: .*\['c_attn'\] do not exist"):
        check_base(context_of(tmp_path, recipe=recipe))


def test_a_template_without_end_of_turn_is_told(tmp_path):
    template = FAMILIES["gpt2"].template.replace("{{ eos_token }}", "")
    with pytest.raises(NegalignError, match="does not end the assistant's turn"):
        check_base(context_of(tmp_path, family=FAMILIES["gpt2"], template=template))


def test_a_template_that_alters_a_completion_is_told(tmp_path):
    template = FAMILIES["llama3"].template.replace("m['content'] | trim", "m['content'] | upper")
    with pytest.raises(NegalignError, match="alters the text of a completion"):
        check_base(context_of(tmp_path, template=template))


def test_a_template_that_refuses_the_prompts_of_the_log_is_one_clear_error(tmp_path, make_event):
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
    recipe = small_recipe(feedback={"source": "log"})
    context = context_of(tmp_path, template=refusing + FAMILIES["llama3"].template, recipe=recipe)
    check_base(context)
    prompt = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
    context.store.append([make_event(event_id="s", prompt=prompt)], source="test")
    with pytest.raises(NegalignError, match=r"refuses a conversation of the roles system, user"):
        check_base(context)


def test_a_prompt_that_does_not_fit_the_positions_is_told(tmp_path):
    config = LlamaConfig(**LLAMA | {"max_position_embeddings": 100})
    with pytest.raises(CycleError, match=r"exceed the 100 positions .*lower model\.max_new_tokens"):
        check_base(context_of(tmp_path, config))


def test_a_case_file_that_holds_the_base_s_own_control_token_is_refused(tmp_path):
    cases = tmp_path / "cases.jsonl"
    family = replace(FAMILIES["gpt2"], special=(*FAMILIES["gpt2"].special, "[TURN]"))
    lines = [
        {"case_id": f"c{n}", "prompt": f"Indication: {n}.", "reference": "No effusion. [TURN]"}
        for n in range(200)
    ]
    cases.write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipe = small_recipe(
        cases={"source": "jsonl", "path": str(cases), "num_evaluation_cases": 20},
        feedback={"source": "log"},
        evaluation={"num_kl_cases": 8},
        gate={"min_cases": 20},
    )
    with pytest.raises(RecipeError, match=r"case c\d+ of .*cases.jsonl holds a control token"):
        check_base(context_of(tmp_path, family=family, recipe=recipe))


def test_it_is_told_before_a_draft_is_written(tmp_path):
    context = context_of(tmp_path, MambaConfig(architectures=["MambaForCausalLM"]))
    recipe = small_recipe(model={"model_name_or_path": str(context.model_dir)})
    (context.model_dir / "model.safetensors").write_bytes(b"")
    with pytest.raises(RecipeError, match="recurrent"):
        run(tmp_path / "w", recipe)
    assert not list((tmp_path / "w").rglob("drafts.parquet"))


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_an_example_longer_than_the_trainer_allows_is_told_before_the_evaluation(tmp_path, method):
    pairs = make_pairs(4)
    for limit in (160, 40):
        candidates = [_candidate(method, limit)]
        recipe = small_recipe(candidates=candidates, model={"max_new_tokens": 20})
        context = context_of(tmp_path, recipe=recipe)
        context.folder.mkdir(parents=True, exist_ok=True)
        write_pairs(context.folder / PAIRS_FILE, pairs)
        write_unpaired(context.folder / UNPAIRED_FILE, make_unpaired(pairs))
        if limit == 160:
            check_lengths(context)
            continue
        with pytest.raises(CycleError, match=r"candidate long: \d examples exceed 40 tokens"):
            check_lengths(context)


def _candidate(method: str, max_length: int) -> dict[str, Any]:
    trainer = {
        "learning_rate": 1.0e-3, "num_train_epochs": 1, "per_device_train_batch_size": 4,
        "beta": 0.1, "max_length": max_length,
    }  # fmt: skip
    lora = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    return {"name": "long", "method": method, "lora": lora, "trainer": trainer}

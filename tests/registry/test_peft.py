"""What PEFT really writes can be published, and what is published PEFT really loads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from negalign_train.cycle.opening.base_model import resolve_model
from negalign_train.cycle.upkeep.serving import loadable_folder
from negalign_train.recipe.cycle import ModelSettings
from negalign_train.registry.adapters import Registry
from negalign_train.storage.database import open_database
from negalign_train.storage.fingerprint import base_digest
from negalign_train.storage.workspace import Workspace, write_json
from negalign_train.vocabulary.errors import RegistryError
from tests.cycles import plan_of, small_recipe
from tests.registries import RECORD

CONFIG = LlamaConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_peft_adapter_survives_publication(tmp_path: Path, dtype: torch.dtype) -> None:
    """The logits of the published adapter on a fresh copy of its base are those it had before."""
    torch.manual_seed(0)
    base = LlamaForCausalLM._from_config(CONFIG, dtype=dtype)
    base.save_pretrained(tmp_path / "base")
    targets = ["q_proj", "down_proj"]
    lora = LoraConfig(r=4, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    model = get_peft_model(base, lora, autocast_adapter_dtype=False).eval()
    model.peft_config["default"].base_model_name_or_path = "embedded"
    model.save_pretrained(tmp_path / "candidate", save_embedding_layers=False)

    workspace = Workspace(tmp_path / "workspace")
    registry = Registry(workspace, open_database(workspace.database_url))
    registry.publish(tmp_path / "candidate", replace(RECORD, base_name="embedded"))
    registry.promote(RECORD.adapter_id, by="test", reason="test")

    fresh = LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype).eval()
    input_ids = torch.arange(8)[None]
    with torch.no_grad():
        plain = fresh(input_ids).logits
        loaded = PeftModel.from_pretrained(
            fresh, str(registry.path("champion")), autocast_adapter_dtype=False
        )
        found, expected = loaded(input_ids).logits, model(input_ids).logits
    assert torch.equal(found, expected)
    assert not torch.allclose(found, plain, atol=1e-3)


INPUT_IDS = torch.arange(8)[None]


def write_base(folder: Path, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    base: LlamaForCausalLM = LlamaForCausalLM(CONFIG)
    base.save_pretrained(folder)
    return base


def write_candidate(folder: Path, base: LlamaForCausalLM, name: str, revision: str | None) -> None:
    lora = LoraConfig(
        r=4, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    model = get_peft_model(base, lora)
    config = model.peft_config["default"]
    config.base_model_name_or_path, config.revision = name, revision
    model.save_pretrained(folder, save_embedding_layers=False)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(INPUT_IDS).logits
    return found


@pytest.fixture
def local(tmp_path: Path) -> tuple[Workspace, Registry, Path]:
    """A workspace with one adapter on a base in a local folder, as a cycle publishes it."""
    folder = tmp_path / "models" / "our-model"
    base = write_base(folder)
    where = resolve_model(
        ModelSettings(model_name_or_path=str(folder), max_new_tokens=1, temperature=0)
    )
    assert (where.name, where.source, where.revision) == ("our-model", "local", None)
    write_candidate(tmp_path / "candidate", base, where.name, where.revision)
    workspace = Workspace(tmp_path / "workspace")
    registry = Registry(workspace, open_database(workspace.database_url))
    record = replace(
        RECORD, base_name=where.name, base_source=where.source, base_digest=base_digest(folder)
    )
    registry.publish(tmp_path / "candidate", record)
    plan = plan_of(small_recipe(), base_folder=str(folder), base_source="local")
    write_json(workspace.cycle_dir(1) / "plan.json", vars(plan))
    return workspace, registry, folder


def test_an_adapter_on_a_local_base_loads_with_its_base_and_publishes_no_path(
    local: tuple[Workspace, Registry, Path], tmp_path: Path
) -> None:
    workspace, registry, base = local
    found = loadable_folder(workspace, registry, RECORD.adapter_id)
    model = AutoPeftModelForCausalLM.from_pretrained(found).eval()
    plain = LlamaForCausalLM.from_pretrained(base).eval()
    before = logits(plain)
    published = registry.path(RECORD.adapter_id)
    assert torch.equal(logits(model), logits(PeftModel.from_pretrained(plain, str(published))))
    assert not torch.allclose(logits(model), before, atol=1e-3)
    for path in published.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()
    # The second call finds the copy as it was; a copy that was changed is made anew.
    weights = found / "adapter_model.safetensors"
    content, made = weights.read_bytes(), weights.stat().st_mtime_ns
    assert loadable_folder(workspace, registry, RECORD.adapter_id) == found
    assert weights.stat().st_mtime_ns == made
    weights.write_bytes(b"changed")
    loadable_folder(workspace, registry, RECORD.adapter_id)
    assert weights.read_bytes() == content


def test_a_base_that_moved_is_asked_for_and_another_one_refused(
    local: tuple[Workspace, Registry, Path], tmp_path: Path
) -> None:
    workspace, registry, base = local
    moved = base.rename(tmp_path / "elsewhere")
    with pytest.raises(RegistryError, match=r"our-model .* say where it lies with --base FOLDER"):
        loadable_folder(workspace, registry, RECORD.adapter_id)
    write_base(tmp_path / "other", seed=1)
    with pytest.raises(RegistryError, match="is not the base model our-model"):
        loadable_folder(workspace, registry, RECORD.adapter_id, tmp_path / "other")
    found = loadable_folder(workspace, registry, RECORD.adapter_id, moved)
    assert AutoPeftModelForCausalLM.from_pretrained(found).get_base_model() is not None


def test_an_adapter_on_a_base_of_the_hub_loads_as_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub's cache with one commit, offline: published under the id and that very commit."""
    commit, cache = "0123456789abcdef0123456789abcdef01234567", tmp_path / "hub"
    repository = cache / "models--clinic--reports"
    base = write_base(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    where = resolve_model(
        ModelSettings(model_name_or_path="clinic/reports", max_new_tokens=1, temperature=0)
    )
    assert (where.name, where.source, where.revision) == ("clinic/reports", "hub", commit)
    write_candidate(tmp_path / "candidate", base, where.name, where.revision)
    workspace = Workspace(tmp_path / "workspace")
    registry = Registry(workspace, open_database(workspace.database_url))
    record = replace(RECORD, base_name=where.name, base_revision=where.revision)
    registry.publish(tmp_path / "candidate", record)
    found = loadable_folder(workspace, registry, RECORD.adapter_id)
    assert found == registry.path(RECORD.adapter_id).resolve()
    (repository / "refs" / "main").write_text("f" * 40)  # the hub's main has moved on
    model = AutoPeftModelForCausalLM.from_pretrained(found, cache_dir=cache).eval()
    plain = LlamaForCausalLM.from_pretrained(where.folder).eval()
    assert torch.equal(logits(model), logits(PeftModel.from_pretrained(plain, str(found))))
    card = (found / "README.md").read_text()
    assert f'from_pretrained("clinic/reports", revision="{commit}")' in card

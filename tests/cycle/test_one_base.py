"""The gate has one base model in memory, whoever writes the reports."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from negalign_train.cycle.steps import evaluate as judge_step
from negalign_train.cycle.steps.evaluate import HeldOutCases, _measure
from negalign_train.generation.reports import Generated
from negalign_train.progress import no_tick
from negalign_train.vocabulary.records import Case
from tests.cycles import small_recipe
from tests.evaluation_support import save_adapter, save_base


class Elsewhere:
    """Stands in for a server: its reports need no model here."""

    def __init__(self, loads: list[int]) -> None:
        self.loads = loads

    def write(self, prompts, max_new_tokens, sampling=None, tick=no_tick):
        assert self.loads == []
        return [Generated("heart normal .", 4, False) for _ in prompts]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_candidate_is_measured_with_one_load_of_the_base(tmp_path, monkeypatch, elsewhere):
    base = save_base(tmp_path / "base")
    parent = save_adapter(base, tmp_path / "parent", 0.2, seed=1)
    candidate = save_adapter(base, tmp_path / "candidate", 0.5, seed=2)
    recipe = small_recipe(model={"max_new_tokens": 4})
    recipe = recipe.model_copy(
        update={"cases": recipe.cases.model_copy(update={"num_evaluation_cases": 0})}
    )
    context: Any = SimpleNamespace(
        recipe=recipe,
        plan=SimpleNamespace(parent="p", seed=1),
        model_dir=base,
        served_base="base",
        adapter_dir=lambda _: parent,
    )
    loads: list[int] = []
    load = AutoModelForCausalLM.from_pretrained

    def counted(*args, **settings):
        loads.append(1)
        return load(*args, **settings)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    if elsewhere:

        @contextmanager
        def served(*_):
            yield Elsewhere(loads)

        monkeypatch.setattr(judge_step, "report_writer", served)
    cases = tuple(Case(f"c{n}", f"g{n}", "heart", "heart normal .", source="t") for n in range(3))
    found = _measure(context, candidate, HeldOutCases(cases, {}, 0))
    assert len(loads) == 1
    assert found.divergence is not None
    assert found.divergence.kl_to_parent != found.divergence.kl_to_base

"""What config, tokenizer and a few texts tell of a cycle before any weight is loaded.

``check_base`` comes first of all, ``check_lengths`` when the training files are there: both before
the parent writes its held-out reports, which takes hours on a large model.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers import PreTrainedTokenizerBase as Tokenizer
from trl import DPOConfig, KTOConfig

from negalign_train.cases.source import evaluation_cases, feedback_cases
from negalign_train.cycle.opening.checks import trial_run
from negalign_train.cycle.opening.plan import Context
from negalign_train.preferences.files import read_pairs, read_prompts, read_unpaired
from negalign_train.preferences.replay import PAIRS_FILE, PROMPTS_FILE, UNPAIRED_FILE
from negalign_train.recipe.base_kind import RECURRENT, kind_message, refuse_kind
from negalign_train.recipe.candidate import CandidateSettings
from negalign_train.recipe.context_length import context_length
from negalign_train.training.policy.loading import check_targets, load_tokenizer
from negalign_train.training.rows.batches import (
    TokenSequence,
    chosen_sequence,
    rejected_sequence,
    unpaired_sequence,
)
from negalign_train.training.rows.tokenise import (
    refuse_longer_than,
    render_prompt,
    tokenise_pairs,
    tokenise_unpaired,
)
from negalign_train.training.rows.turns import end_of_turn, special_strings
from negalign_train.training.settings.arguments import trainer_config
from negalign_train.vocabulary.errors import CycleError, RecipeError, TrainingError
from negalign_train.vocabulary.records import Prompt
from negalign_train.vocabulary.special_tokens import holds_special_token, prompt_texts

_MAX_TOKENISED = 64
"""Of the longest texts, by characters: the longest in tokens is among them."""


def check_base(context: Context) -> None:
    """Refuses a base that cannot be trained by this recipe, before drafts or reports are written.

    Raises:
        RecipeError: the base is of another kind, or a candidate's target modules are not in it.
        TrainingError: the tokenizer lacks something, or its chat template refuses the prompts, or
            ends no turn.
        CycleError: a prompt does not fit the base's positions.
    """
    config = _config(context)
    _check_modules(context, config)
    tokenizer = load_tokenizer(context.model_dir)
    end_of_turn(tokenizer)
    _check_case_texts(context, tokenizer)
    _check_prompts(context, tokenizer, config, _prompts(context))


def _config(context: Context) -> PretrainedConfig:
    name = context.plan.base_name
    path = context.model_dir / "config.json"
    if not path.is_file():
        raise RecipeError(f"{context.model_dir} holds no config.json; give a base model folder")
    refuse_kind(json.loads(path.read_text(encoding="utf-8")), name)
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            context.model_dir, local_files_only=True, trust_remote_code=False
        )
    except (ValueError, OSError) as error:
        raise RecipeError(
            f"the base {name} cannot be read by the installed transformers "
            f"({type(error).__name__}); use a newer one, or another base: code of a model's own "
            "folder is never run"
        ) from error
    refuse_kind(config.to_dict(), name)  # what the file leaves to defaults, too
    return config


def _check_modules(context: Context, config: PretrainedConfig) -> None:
    """Builds the modules without weights, and looks for the ones that LoRA is to sit on."""
    try:
        with init_empty_weights():
            base = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, trust_remote_code=False
            )
    except ValueError as error:
        raise RecipeError(
            f"the base {context.plan.base_name} ({config.model_type}) is no causal language model "
            "of the installed transformers; set model.model_name_or_path to one"
        ) from error
    if base._is_stateful:  # what transformers itself asks before it decodes
        raise RecipeError(kind_message(RECURRENT, config.model_type, context.plan.base_name))
    for candidate in context.recipe.candidates:
        try:
            check_targets(base, candidate.lora)
        except TrainingError as error:
            raise RecipeError(f"candidate {candidate.name}: {error}") from error


def _check_case_texts(context: Context, tokenizer: Tokenizer) -> None:
    """Events of the log with control tokens are set aside and counted; a case file is mended."""
    own = special_strings(tokenizer)
    for case in evaluation_cases(context.recipe.cases, context.plan.seed):
        if any(holds_special_token(t, own) for t in (*prompt_texts(case.prompt), case.reference)):
            raise RecipeError(
                f"case {case.case_id} of {context.recipe.cases.path} holds a control token of the "
                f"base {context.plan.base_name}, which would forge or end a turn; take it out"
            )


def _prompts(context: Context) -> list[Prompt]:
    """What this cycle's drafts and reports will answer, as far as it is known by now."""
    recipe, plan = context.recipe, context.plan
    evaluated = [case.prompt for case in evaluation_cases(recipe.cases, plan.seed)]
    if recipe.feedback.source == "simulated":
        cases = feedback_cases(recipe.cases, plan.cycle, plan.seed)
        return evaluated + [case.prompt for case in cases]
    events = context.store.events(after_sequence=plan.after_sequence)
    return evaluated + [event.prompt for _, event in events]


def _check_prompts(
    context: Context, tokenizer: Tokenizer, config: PretrainedConfig, prompts: Sequence[Prompt]
) -> None:
    """Renders one prompt of each sequence of roles, and the longest ones."""
    by_roles: dict[tuple[str, ...], Prompt] = {}
    for prompt in prompts:
        roles = () if isinstance(prompt, str) else tuple(message["role"] for message in prompt)
        by_roles.setdefault(roles, prompt)
    for prompt in by_roles.values():
        render_prompt(tokenizer, prompt)
    limit = context_length(config)
    longest = max((len(render_prompt(tokenizer, p)) for p in _longest(prompts)), default=0)
    room = context.recipe.model.max_new_tokens
    if limit is not None and longest + room > limit:
        raise CycleError(
            f"a prompt of {longest} tokens and max_new_tokens {room} exceed the {limit} positions "
            f"of the base {context.plan.base_name}; lower model.max_new_tokens, shorten the "
            "prompts, or use a base with a longer context"
        )


def _size(prompt: Prompt) -> int:
    return sum(map(len, prompt_texts(prompt)))


def _longest(prompts: Sequence[Prompt]) -> list[Prompt]:
    return sorted(prompts, key=_size, reverse=True)[:_MAX_TOKENISED]


def check_lengths(context: Context) -> None:
    """Tokenises the longest training examples as each candidate will.

    Raises:
        CycleError: a candidate would refuse them, with its name.
    """
    config = _config(context)
    tokenizer = load_tokenizer(context.model_dir)
    for candidate in context.recipe.candidates:
        limit = _limit(context, candidate, config)
        try:
            refuse_longer_than(limit, _sequences(context, candidate, tokenizer))
        except TrainingError as error:
            raise CycleError(f"candidate {candidate.name}: {error}") from error


def _limit(context: Context, candidate: CandidateSettings, config: PretrainedConfig) -> int:
    """As the training itself has it (``training.session``), positions alone for GRPO's prompts."""
    limits = [context_length(config)]
    if candidate.method != "grpo":
        run = trial_run(context.recipe, candidate, context.plan.seed, processes=1)
        settings = trainer_config(run)
        assert isinstance(settings, DPOConfig | KTOConfig)
        limits.append(settings.max_length)
    return min((limit for limit in limits if limit is not None), default=sys.maxsize)


def _sequences(
    context: Context, candidate: CandidateSettings, tokenizer: Tokenizer
) -> list[tuple[str, TokenSequence]]:
    folder = context.folder
    if candidate.method == "grpo":
        room = [0] * context.recipe.model.max_new_tokens
        prompts = sorted(read_prompts(folder / PROMPTS_FILE), key=lambda x: -_size(x.prompt))
        return [
            (each.case_id, TokenSequence(render_prompt(tokenizer, each.prompt), room, []))
            for each in prompts[:_MAX_TOKENISED]
        ]
    if candidate.method == "kto":
        examples = read_unpaired(folder / UNPAIRED_FILE)
        examples.sort(key=lambda x: -_size(x.prompt) - len(x.completion))
        unpaired = tokenise_unpaired(tokenizer, examples[:_MAX_TOKENISED])
        return [(row["example_id"], unpaired_sequence(row)) for row in unpaired]
    pairs = read_pairs(folder / PAIRS_FILE)
    pairs.sort(key=lambda x: -_size(x.prompt) - max(len(x.chosen), len(x.rejected)))
    rows = tokenise_pairs(tokenizer, pairs[:_MAX_TOKENISED])
    sides = (chosen_sequence, rejected_sequence)
    return [(row["example_id"], side(row)) for row in rows for side in sides]

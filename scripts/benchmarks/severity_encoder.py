"""Small encoders of ``bench_severity.py``, built in code, and the pairs its judge learns from.

Nothing is downloaded: weights are random, and the tokenizer is learnt from the reports themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer
from transformers import (
    BertConfig,
    BertModel,
    DebertaConfig,
    DebertaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from negalign_train.severity.judges.examples import GradedExample
from negalign_train.simulate.injection.reports import OPERATIONS, inject
from negalign_train.simulate.paraphrase import paraphrase
from negalign_train.vocabulary.records import CATEGORIES, Case

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_POSITIONS = 512
_NLI_LABELS = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}


def pair_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer learnt from ``texts``, with the pair form of BERT."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = WordPieceTrainer(vocab_size=vocab_size, special_tokens=_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, _SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=_POSITIONS,
        **{f"{name[1:-1].lower()}_token": name for name in _SPECIAL},
    )


def _write(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    make: Callable[[], PreTrainedModel],
    seed: int,
) -> Path:
    """A model drawn from ``seed``, with its tokenizer; the global generator stays where it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_encoder(folder: Path, tokenizer: PreTrainedTokenizerFast, seed: int) -> Path:
    """A random three-layer BERT: small enough to be trained by one core in minutes."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=_POSITIONS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
    )
    return _write(folder, tokenizer, lambda: BertModel(config), seed)


def write_random_nli(folder: Path, tokenizer: PreTrainedTokenizerFast, seed: int) -> Path:
    """A random three-way classifier of the architecture of ``microsoft/deberta-large-mnli``."""
    config = DebertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=_POSITIONS,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        type_vocab_size=0,
        pad_token_id=0,
        id2label=_NLI_LABELS,
        label2id={name: index for index, name in _NLI_LABELS.items()},
    )
    return _write(folder, tokenizer, lambda: DebertaForSequenceClassification(config), seed)


def _example(case: Case, number: int, text: str, wrong: dict[str, float]) -> GradedExample:
    severities = dict.fromkeys(CATEGORIES, 0.0) | wrong
    name = f"{case.case_id}-{number}"
    return GradedExample(name, case.case_id, case.group, case.reference, text, severities)


def training_examples(cases: Sequence[Case], count: int, seed: int) -> list[GradedExample]:
    """``count`` examples: of four, two reports with one error, one reworded and one untouched.

    Half of them are right, because an encoder that cannot see an error predicts the mean severity,
    and that must not be an alarm. Reports take turns, and so do the operations; where a report
    gives no place for the operation whose turn it is, the next report has its turn.
    """
    rng = Random(f"training:{seed}")
    turns = cycle(rng.sample(list(OPERATIONS), len(OPERATIONS)))
    endless = enumerate(cycle(rng.sample(list(cases), len(cases))))

    def examples() -> Iterable[GradedExample]:
        for number, case in endless:
            if number % 4 < 2:
                text = case.reference if number % 4 else paraphrase(case.reference, number)
                yield _example(case, number, text, {})
                continue
            truth = [finding.name for finding in case.findings]
            injection = inject(case.reference, next(turns), number, true_findings=truth)
            if injection is not None:
                yield _example(
                    case, number, injection.text, {injection.category: injection.severity}
                )

    return list(islice(examples(), count))

"""A sequence-pair classifier from a local folder: logits of text pairs, batched, cached by text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from negalign_train.storage.fingerprint import base_digest
from negalign_train.vocabulary.errors import DataError

TextPair = tuple[str, str]
Logits = tuple[float, ...]
_CACHED_PAIRS = 1 << 16
_BATCH = 32
# Positions start behind the padding id (transformers, modeling_roberta.py).
_OFFSET_POSITIONS = frozenset(["roberta", "xlm-roberta", "camembert"])


def check_classifier_dir(model_dir: Path) -> None:
    """Refuses a folder that holds no model as safetensors.

    Raises:
        DataError: with the way out.
    """
    if not model_dir.is_dir():
        raise DataError(
            f"judge folder {model_dir} does not exist; download the model first (for example `hf "
            "download microsoft/deberta-large-mnli --local-dir DIR` with HF_HUB_OFFLINE=0) and "
            "give its folder"
        )
    if not (model_dir / "config.json").is_file() or not any(model_dir.glob("*.safetensors")):
        raise DataError(
            f"{model_dir} holds no config.json or no *.safetensors; load the model once with "
            "transformers and write it with save_pretrained(DIR, safe_serialization=True), then "
            "give DIR"
        )


def load_classifier(model_dir: Path) -> PreTrainedModel:
    """A classifier with a trained head, from local safetensors, without code from the folder.

    Raises:
        DataError: the folder is missing, holds no safetensors, or no head.
    """
    check_classifier_dir(model_dir)
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            model_dir,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(
            f"{model_dir} cannot be loaded as a sequence classifier ({type(error).__name__}); "
            "download it again, or give the folder of one that transformers knows"
        ) from error
    if missing := info["missing_keys"]:
        raise DataError(
            f"{model_dir} is no trained classifier: {len(missing)} of its weights are missing "
            f"({sorted(missing)[0]}); give a sequence classifier, not its bare encoder"
        )
    assert isinstance(model, PreTrainedModel)
    return model


def to_device(model: torch.nn.Module, device: torch.device) -> None:
    """Moves a model in place."""
    model.to(device)


def load_pair_tokenizer(model_dir: Path) -> PreTrainedTokenizerBase:
    """The tokenizer beside a classifier.

    Raises:
        DataError: it is missing, or needs a library that is not installed.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError) as error:
        raise DataError(
            f"the tokenizer in {model_dir} cannot be loaded ({type(error).__name__}); one without "
            "tokenizer.json, such as DeBERTa-v3's, needs `pip install negalign-train[judges]`"
        ) from error
    return tokenizer


def max_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest pair that fits, special tokens included."""
    positions = int(model.config.max_position_embeddings)
    if model.config.model_type in _OFFSET_POSITIONS:
        positions -= int(model.config.pad_token_id) + 1
    return min(positions, int(tokenizer.model_max_length))


def pad_batch(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]], device: torch.device
) -> dict[str, torch.Tensor]:
    """Tokenised pairs as tensors (rows, longest)."""
    padded = tokenizer.pad(
        {key: [row[key] for row in rows] for key in rows[0]}, return_tensors="pt"
    )
    return {key: value.to(device) for key, value in padded.items()}


class PairClassifier:
    """Logits of (first, second) text pairs.

    ``logits`` gives None for a pair that does not fit the model: nothing is cut off in silence.
    The weights are loaded when the first pair comes.

    Args:
        device: where the model lives; None is the GPU if there is one.
    """

    def __init__(
        self, model_dir: Path, batch_size: int = _BATCH, device: str | None = None
    ) -> None:
        check_classifier_dir(model_dir)
        self._model_dir, self._batch_size = model_dir, batch_size
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device or default)
        self.digest = base_digest(model_dir)
        self._cache: OrderedDict[TextPair, Logits | None] = OrderedDict()

    @cached_property
    def model(self) -> PreTrainedModel:
        # from_pretrained leaves it in evaluation mode.
        model = load_classifier(self._model_dir)
        to_device(model, self._device)
        return model

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_pair_tokenizer(self._model_dir)

    @cached_property
    def _limit(self) -> int:
        return max_tokens(self.model, self.tokenizer)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the logits, in order.

        Raises:
            DataError: config.json cannot be read.
        """
        try:
            config = AutoConfig.from_pretrained(
                self._model_dir, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self._model_dir / 'config.json'} cannot be read ({type(error).__name__}); "
                "download the model again"
            ) from error
        names: Any = config.id2label
        return tuple(str(names[index]) for index in sorted(names))

    def logits(self, pairs: Sequence[TextPair]) -> list[Logits | None]:
        """Logits of each pair, in order; equal pairs are computed once."""
        asked = list(dict.fromkeys(pairs))
        known = {pair: self._cache[pair] for pair in asked if pair in self._cache}
        known |= self._compute([pair for pair in asked if pair not in known])
        for pair in asked:
            self._cache[pair] = known[pair]
            self._cache.move_to_end(pair)
        while len(self._cache) > _CACHED_PAIRS:
            self._cache.popitem(last=False)
        return [known[pair] for pair in pairs]

    def _compute(self, pairs: list[TextPair]) -> dict[TextPair, Logits | None]:
        rows = {pair: dict(self.tokenizer(*pair)) for pair in pairs}
        logits_of: dict[TextPair, Logits | None] = dict.fromkeys(pairs)
        fitting = [pair for pair in pairs if len(rows[pair]["input_ids"]) <= self._limit]
        fitting.sort(key=lambda pair: len(rows[pair]["input_ids"]))
        for first in range(0, len(fitting), self._batch_size):
            batch = fitting[first : first + self._batch_size]
            tensors = pad_batch(self.tokenizer, [rows[pair] for pair in batch], self._device)
            with torch.inference_mode():
                values = self.model(**tensors).logits.float().tolist()
            logits_of |= {pair: tuple(value) for pair, value in zip(batch, values, strict=True)}
        return logits_of

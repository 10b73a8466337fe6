"""The model card that stands in every checkpoint folder."""

from pathlib import Path
from typing import Any

from yaqin.inference.checkpoint import LABELS, CheckpointInfo

_CARD = """---
language: ar
license: apache-2.0
library_name: transformers
pipeline_tag: text-classification
tags: [arabic, news, hedging, attribution, factuality]
---

# {name}

Tags a sentence of Arabic news with how reliably it *presents* its claim: `confirmed` (in the outlet's own
voice), `attributed` (on the word of a source it cites), `hedged` (as less than certain) or `unverified` (the
text itself says or signals that it is not established). It does not say whether the claim is true.

Made by `yaqin train`, fine-tuned from `{base_model}`; inputs are prepared as for {preparation} and cut at
{max_length} pieces; context: {context}.

## Use

```python
from yaqin.inference import Tagger

Tagger.load("folder/of/this/card").tag(["…"])
```

A full checkpoint opens in plain `transformers` as a text classifier over the four classes; prepare the text
with `yaqin.inference.text.prepare` first. A packed one holds the int8 ONNX graph only.

## Scores

On the {n} development rows that make a claim, with the int8 engine. They chose the epoch and the seed and fitted the
temperature, so expect a little less elsewhere.

| measure | value |
| --- | --- |
| macro-F1 | {macro_f1:.3f} (95 % interval {low:.3f} to {high:.3f}, articles resampled) |
{per_class}
| accuracy | {accuracy:.3f} |
| expected calibration error (15 bins) | {ece:.3f} |

## Data and limits

Trained on {train}; chosen on {dev}; seed {seed}.
The hashes of these files stand in `yaqin.json`. Yaqin's own rows (`news-*`, `written-*`, `contrast-*`) were
labelled by large language models that read sentence by sentence under a guideline, and its news sentences are Egyptian
and Tunisian, of 2013 to 2017: other countries, years and genres can score lower.
"""


def model_card(info: CheckpointInfo, report: dict[str, Any]) -> str:
    """Write the card of a checkpoint from its info and its evaluation."""
    overall, data = report["overall"], info.config["data"]
    low, high = overall["macro_f1_interval"]
    per_class = "\n".join(f"| F1 of `{label}` | {overall['per_class'][label]['f1']:.3f} |" for label in LABELS)
    return _CARD.format(
        name=info.name,
        base_model=info.base_model,
        preparation=info.preparation,
        max_length=info.max_length,
        context=info.context,
        n=overall["n_claims"],
        macro_f1=overall["macro_f1"],
        low=low,
        high=high,
        per_class=per_class,
        accuracy=overall["accuracy"],
        ece=overall["ece"],
        train=_named([*data["train"], *data["written"]]),
        dev=_named(data["dev"]),
        seed=info.config["seed"],
    )


def _named(paths: list[str]) -> str:
    return ", ".join(f"`{Path(path).name}`" for path in paths)

"""Fine-tunes, calibrates, evaluates and exports the checkpoints that `yaqin.inference` loads."""

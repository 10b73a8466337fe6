"""Tags sentences of Arabic news with how reliably they present their claim. Runs without torch."""

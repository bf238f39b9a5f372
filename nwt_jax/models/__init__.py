"""The networks of the paper's figures, as pure linen modules that never see a config."""

"""What the paper's figures draw, as pure linen modules that never see a config."""

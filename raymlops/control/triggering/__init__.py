"""When a model is retrained: triggers, policies and their replay."""

"""The model card and its page."""

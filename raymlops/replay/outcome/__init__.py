"""The outcome of a replay: its figures, beside those of a calendar and of no retraining, and its page."""

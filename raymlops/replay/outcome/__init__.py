"""What came of a replay: its figures, beside a calendar's and beside no retraining, and its page."""

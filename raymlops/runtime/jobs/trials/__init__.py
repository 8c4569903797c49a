"""The trials of a search: by Ray Tune or in the process of the run, and their log."""

"""The checks that every project gets: its features, its model, and the steps that make the one of the other."""

"""Whether the data of a window is broken: quality, traffic, the age and truth of served features."""

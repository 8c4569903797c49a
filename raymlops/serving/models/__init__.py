"""Models that can answer: their files, how they are loaded and checked."""

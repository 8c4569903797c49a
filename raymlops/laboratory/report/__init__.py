"""Reports of the laboratory: figures, a page, JSON."""

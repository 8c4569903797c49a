"""What the laboratory tells: figures, a page, JSON."""

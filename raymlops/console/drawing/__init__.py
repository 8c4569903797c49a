"""Drawings of the console as inline SVG, in the colours of the style sheet, without a style of their own."""

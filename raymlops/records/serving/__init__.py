"""How a model's endpoint stands, who may ask it, and what people order of it."""

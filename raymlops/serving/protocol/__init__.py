"""How callers speak: requests, tensors, labels and who may ask."""

"""The wire protocols: requests, tensors, labels and access by keys."""

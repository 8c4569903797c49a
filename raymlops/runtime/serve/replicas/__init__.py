"""The replicas that answer for models, one model or a pool of them, and who may ask them."""

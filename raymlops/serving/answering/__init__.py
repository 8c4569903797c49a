"""A request's way: batching, circuit breakers, fallback, events and metrics."""

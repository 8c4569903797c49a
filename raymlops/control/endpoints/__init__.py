"""Moving an endpoint from one serving plan to the next."""

"""What a user declares: entities, views, services and on-demand functions, and the types of their rows."""

"""The year of flights: a real project on RayMLOps, and the replay that shows the loop closed."""

"""Ray itself: connecting, clients of actors, clocks, threads and deadlines."""

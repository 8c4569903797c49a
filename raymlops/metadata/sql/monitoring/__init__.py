"""Tables of monitoring in SQL: closed windows, their profiles, and alerts."""

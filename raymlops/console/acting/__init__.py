"""Actions of people on the console: sign-in, preview, reason, order."""

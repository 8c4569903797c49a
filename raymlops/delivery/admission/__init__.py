"""Whether a bundle may go live: approvals, rules, what the platform can run, and what would change."""

"""Who is told what: alarms, alert rules and webhooks."""

"""Alerts: alarms, alert rules and webhooks."""

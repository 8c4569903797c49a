"""What people are told and shown: alerts, reasons, lists and search."""

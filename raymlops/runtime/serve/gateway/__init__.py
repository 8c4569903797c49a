"""The gateway of the platform: its replica, the gRPC port, approvals, the console."""

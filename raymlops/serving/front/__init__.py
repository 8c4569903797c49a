"""The gateway in front of the endpoints, with the API description, gRPC and operations."""

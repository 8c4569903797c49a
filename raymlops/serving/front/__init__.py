"""What is served beside the models: the gateway, its API description, gRPC and operations."""

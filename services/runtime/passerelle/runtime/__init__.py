"""What every service stands on: errors, interceptors, configuration, SSH, and the gRPC server."""

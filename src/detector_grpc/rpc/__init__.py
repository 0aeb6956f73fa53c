"""The edge: the only part of the server, with the interceptors, that knows gRPC and the generated code."""

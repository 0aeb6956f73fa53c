"""Envoy in front of the servers: its configuration, and how it splits the traffic. No grpc."""

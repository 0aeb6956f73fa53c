"""Model files made smaller or faster, and what that costs in accuracy. Knows nothing of gRPC and asyncio."""

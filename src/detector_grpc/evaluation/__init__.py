"""How well model versions find what people have marked in pictures. Knows nothing of gRPC and asyncio."""

"""Pure functions on arrays and bytes. No asyncio, no model runtime, no network, no files."""

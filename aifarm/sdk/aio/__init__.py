"""The SDK for asyncio, and the source of the blocking one: `make sdk` writes that from this."""

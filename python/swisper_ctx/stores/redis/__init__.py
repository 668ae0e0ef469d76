"""Redis in front of any store."""

from swisper_ctx.stores.redis.cache import RedisCache
from swisper_ctx.stores.redis.hashes import Counts

__all__ = ["Counts", "RedisCache"]

"""Layout of the Redis online store: key names, formats, and the scripts that change runs."""

from __future__ import annotations

import struct

from raymlops.features.online.runs import MAGIC

__all__ = ["CHUNK", "HEAD", "KEPT", "KEPT_MS", "LAYOUT", "REPLACE", "SETTLE", "WATERMARK", "Keys", "tag"]

HEAD = struct.Struct(">QQ")
"""Before each run: the number of the commit it is from, and of the run it replaced; 0 for none."""
WATERMARK = struct.Struct("<qq")
LAYOUT = f"{MAGIC:x}"
CHUNK = 1_000
"""Runs per call: bounds how long the server does nothing else."""
KEPT = 16
"""How many replaced runs of a key are kept for snapshots that are older than they."""
KEPT_MS = 30_000
"""How long after the last commit of a key they are kept."""

REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('ERR another process writes now')
end
for i = 3, #KEYS, 2 do
  local old = redis.call('GET', KEYS[i])
  local before = string.rep('\\0', 8)
  if old then
    before = string.sub(old, 1, 8)
    redis.call('LPUSH', KEYS[i + 1], old)
    redis.call('LTRIM', KEYS[i + 1], 0, ARGV[3] - 1)
    if ARGV[4] == '0' then
      redis.call('PERSIST', KEYS[i + 1])
    else
      redis.call('PEXPIRE', KEYS[i + 1], ARGV[4])
    end
  end
  if ARGV[4] == '0' then
    redis.call('SADD', KEYS[2], KEYS[i])
  end
  redis.call('SET', KEYS[i], ARGV[2] .. before .. ARGV[5 + (i - 3) / 2])
end
"""
"""Put runs in place of others. Keys: writer, pending, then run and replaced of each. Arguments: the writer, the tag of
the commit, ``KEPT``, ``KEPT_MS`` or 0 for a commit that is not finished by this call, then the runs."""

SETTLE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('ERR another process writes now')
end
for i = 3, #KEYS, 2 do
  local run = redis.call('GET', KEYS[i])
  if run and string.sub(run, 1, 8) == ARGV[2] then
    if string.sub(run, 9, 16) == string.rep('\\0', 8) then
      redis.call('DEL', KEYS[i])
    else
      redis.call('SET', KEYS[i], redis.call('LPOP', KEYS[i + 1]))
    end
  end
  redis.call('PEXPIRE', KEYS[i + 1], ARGV[3])
  redis.call('SREM', KEYS[2], KEYS[i])
end
"""
"""Take runs of a commit that was never finished back, and let what finished ones replaced expire. Keys: as above.
Arguments: the writer, the tag of the unfinished commit, ``KEPT_MS``."""


class Keys:
    """Names of what a store keeps: all begin with its prefix and the layout of its runs."""

    def __init__(self, prefix: str, layout: str) -> None:
        start = f"{prefix}:{layout}".encode()
        self.run = start + b":run:"
        """Followed by an address."""
        self.replaced = start + b":replaced:"
        """Followed by an address: the runs that one replaced, newest first."""
        self.commit = start + b":commit"
        """Number of the last commit."""
        self.writer = start + b":writer"
        """Number of the present writer."""
        self.watermarks = start + b":watermarks"
        self.pending = start + b":pending"
        """Runs of a commit that is under way."""
        self.rebuilding = start + b":rebuilding"
        """Views of a former layout that are not complete again."""


def tag(number: int) -> bytes:
    """The number of a commit as it stands in a run's head."""
    return number.to_bytes(8, "big")

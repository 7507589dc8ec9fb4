"""Files and memory: reading what anyone may have written, writing whole or not at all, and what room there is.

Imports nothing of ours, so that every other room may stand on it.
"""

from .limits import free_memory, readable_size, used_memory
from .reading import as_object, map_array, numbers, open_regular, read_bytes, read_json, read_text
from .writing import atomic, link, locked, name_file, real_path, remove_unfinished, sync_folder, write_array

__all__ = ["as_object", "atomic", "free_memory", "link", "locked", "map_array", "name_file", "numbers", "open_regular"]
__all__ += ["read_bytes", "read_json", "read_text", "readable_size", "real_path", "remove_unfinished", "sync_folder"]
__all__ += ["used_memory", "write_array"]

"""Files and memory: reading what anyone may have written, writing whole or not at all, and what room there is.

Imports nothing of ours, so that every other room may stand on it.
"""

from .limits import check_most, check_path
from .memory import free_memory, readable_size, used_memory
from .reading import as_object, map_array, numbers, open_regular, parse_json, plain_numbers, read_bytes, read_json
from .writing import atomic, link, locked, name_file, new_folder, real_path, remove_unfinished, sync_folder, write_array

__all__ = ["as_object", "atomic", "check_most", "check_path", "free_memory", "link", "locked", "map_array"]
__all__ += ["name_file", "new_folder", "numbers", "open_regular", "parse_json", "plain_numbers", "read_bytes"]
__all__ += ["read_json", "readable_size", "real_path", "remove_unfinished", "sync_folder"]
__all__ += ["used_memory", "write_array"]

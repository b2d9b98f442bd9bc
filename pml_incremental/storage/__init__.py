"""Files that are whole or not there, that notice damage, and that one process writes."""

from pml_incremental.storage.folder_lock import FolderLock
from pml_incremental.storage.tensor_file import (
    has_checksum,
    newest_readable,
    pack_state,
    read_tensor_file,
    remove_generations,
    unpack_state,
    write_generation,
    write_tensor_file,
)
from pml_incremental.storage.whole_file import (
    DamagedFileError,
    InUseError,
    StorageError,
    is_leftover,
    read_checked_json,
    remove_leftovers,
    write_checked_json,
    write_text_whole,
    write_whole,
)

__all__ = [
    "DamagedFileError",
    "FolderLock",
    "InUseError",
    "StorageError",
    "has_checksum",
    "is_leftover",
    "newest_readable",
    "pack_state",
    "read_checked_json",
    "read_tensor_file",
    "remove_generations",
    "remove_leftovers",
    "unpack_state",
    "write_checked_json",
    "write_generation",
    "write_tensor_file",
    "write_text_whole",
    "write_whole",
]

"""Results on disk: the only room that knows how they lie there.

``files``        files that are whole or not there, and digests of them
``signature``    how a zarr store is known to be whole
``result``       one dataset at once
``block_store``  one dataset block by block, by any number of processes
``verification`` what is whole in a folder, and what is not
``folder``       the output folder of a spec: a store for each objective, and what is known of all of them
"""

from jaxloss.store.folder import (
    BASINS,
    DATA,
    SPEC,
    SUFFIX,
    SUMMARY,
    Stored,
    begin_folder,
    check_folder,
    finish_folder,
    open_folder,
    read_spec,
)
from jaxloss.store.result import open_result, read_result, write_result

__all__ = [
    "BASINS",
    "DATA",
    "SPEC",
    "SUFFIX",
    "SUMMARY",
    "Stored",
    "begin_folder",
    "check_folder",
    "finish_folder",
    "open_folder",
    "open_result",
    "read_result",
    "read_spec",
    "write_result",
]

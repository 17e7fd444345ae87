"""Makes the C heap give freed pictures back to the system.

glibc raises its threshold for mapping an allocation apart each time a mapped one is freed, up to 32 MiB, and keeps
twice that at the top of its heap: after some large uploads a gateway would hold them for ever. A threshold that is
set stays. Too low a one is dear: memory that is mapped for each picture is zeroed page by page, which at 256 KiB
cost a fifth of the CPU of a 1024x768 picture (13.0 against 10.8 ms; benchmarks/bare_classify.py with glibc's
MALLOC_MMAP_THRESHOLD_). With 12-megapixel photographs, eight at once, three times, a gateway kept 102 MiB
afterwards, and 98 with 256 KiB.
"""

import ctypes

# From malloc.h (glibc): the parameters of mallopt.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

# Decoded pictures up to 1600x1200 (5.8 MB) and bodies up to the default cap come from the heap; photographs do not.
_MAPPED_APART_BYTES = 8 * 1024 * 1024
_KEPT_FREE_BYTES = 16 * 1024 * 1024
# One for the event loop and one for the workers: their large allocations are mapped apart anyway.
_ARENAS = 2


def give_freed_memory_back() -> bool:
    """Fix malloc's thresholds for this process; call it once, before threads start. False where malloc has none."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl, macOS
        return False
    wanted = ((_M_MMAP_THRESHOLD, _MAPPED_APART_BYTES), (_M_TRIM_THRESHOLD, _KEPT_FREE_BYTES), (_M_ARENA_MAX, _ARENAS))
    refused = [parameter for parameter, value in wanted if mallopt(parameter, value) != 1]
    return not refused

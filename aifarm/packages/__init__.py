"""The package format: model code as one immutable archive, addressed by its sha256.

`pack` and `pack_source` make one, `extract` writes its file from a notebook's cells, `verify`
decides whether one can be trusted to be what it says, `unpack` puts one on disk. None of them
imports or runs what is inside.
"""

from aifarm.packages.archive import verify
from aifarm.packages.extract import CannotTravel, Problem, Source, defined, extract
from aifarm.packages.manifest import MAX_DIFF, Kind, Limits, Manifest, Origin, PackageInvalid
from aifarm.packages.packing import pack, pack_source
from aifarm.packages.unpacking import unpack

__all__ = [
    "pack",
    "pack_source",
    "extract",
    "defined",
    "verify",
    "unpack",
    "Source",
    "Manifest",
    "Kind",
    "Limits",
    "MAX_DIFF",
    "PackageInvalid",
    "CannotTravel",
    "Problem",
    "Origin",
]

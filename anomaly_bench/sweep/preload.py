"""Imported once, by the process that the processes of the runs are forked from: everything that a run needs.

Nothing is computed in here: threads that an operation starts would be missing in the forked processes.
"""

import gc

from anomaly_bench.runs.code_digest import source_digest
from anomaly_bench.sweep import plan as plan

source_digest()  # of the code as it was loaded, whatever becomes of its files while the sweep is under way
gc.collect()
gc.freeze()  # no collection in a run looks at what was imported: each took 0.3 s, and copied the memory that runs share

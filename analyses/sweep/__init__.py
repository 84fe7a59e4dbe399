"""Many checkpoints: in processes or on a cluster, resumable, one table at the end."""

from mesascope.analyses.sweep.cluster import Cluster
from mesascope.analyses.sweep.processes import LocalProcesses
from mesascope.analyses.sweep.sweep import Sweep, sweep_checkpoints
from mesascope.analyses.sweep.write import write_sweep

__all__ = ["Cluster", "LocalProcesses", "Sweep", "sweep_checkpoints", "write_sweep"]

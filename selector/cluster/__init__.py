"""Many devices and many machines through Ray: what is ours of it, and the only import of it.

Ray places work, watches its workers and moves data. Ours is what work there is and what it needs
(``needs``, ``work``), the letters between workers and the run that keeps results (``office``),
and what to do when a worker is gone (``spread``).
"""

from __future__ import annotations

from selector.cluster.connection import Cluster
from selector.cluster.engine import RayEngine
from selector.cluster.office import Line
from selector.cluster.spread import Job, Needs, spread

__all__ = ["Cluster", "Job", "Line", "Needs", "RayEngine", "spread"]

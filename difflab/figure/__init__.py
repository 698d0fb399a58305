"""Pictures and plotted tables of a run. matplotlib is imported when a picture is drawn, not before."""

from .bound import heatmap, per_log_snr, per_timestep
from .curve import buckets, per_log_snr_curve, per_t_curve
from .sample import sample_grid, scatter

__all__ = [
    "buckets",
    "heatmap",
    "per_log_snr",
    "per_log_snr_curve",
    "per_t_curve",
    "per_timestep",
    "sample_grid",
    "scatter",
]

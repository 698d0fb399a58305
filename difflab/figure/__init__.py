"""Pictures and plotted tables of a run. matplotlib is imported when a picture is drawn, not before."""

from .bound import heatmap, per_log_snr, per_timestep
from .curve import buckets, per_log_snr_curve, per_t_curve
from .insight import bands, chains, rate_distortion, variances
from .sample import sample_grid, scatter

__all__ = [
    "bands",
    "buckets",
    "chains",
    "heatmap",
    "per_log_snr",
    "per_log_snr_curve",
    "per_t_curve",
    "per_timestep",
    "rate_distortion",
    "sample_grid",
    "scatter",
    "variances",
]

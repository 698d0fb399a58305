"""Networks: (x_t, log_snr, cond) -> raw, the parameterization's prediction y and the variance head."""

"""Noise schedules: the log-SNR of every level of the chain."""

"""What `task=` chooses: one module each, one function `run(config, run_dir) -> result`."""

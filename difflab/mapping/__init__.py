"""The mapping from data to noise and back, made visible: paths of x_t at a few levels, spectra, the file that holds them."""

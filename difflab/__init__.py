"""A laboratory for diffusion models as likelihood models: the bound, term by term."""

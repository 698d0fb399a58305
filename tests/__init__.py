# A package, so that no other one of this name (torch-fidelity installs one) is imported in its place.

"""The benchmark suite, `python -m difflab.bench`: ours against what a user would run instead, in one interleaved run.

work.py       what is measured, and the two lengths of a run of the suite
contender/    who is measured: ours and the peers, each a network and the loops around it
worker.py     one contender in a process of its own; pool.py: the processes, and the rounds in which they take turns
machine.py    what the machine is and what it can do at most
population.py, levers.py, scaling.py   the bound to a standard error; what each optimisation gains; cost against size
summary.py    from samples to medians and spreads; table.py: the text
"""

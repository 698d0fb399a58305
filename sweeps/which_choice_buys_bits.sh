#!/usr/bin/env bash
# Question: at equal, few training steps, does the schedule, the parameterization or the reverse variance buy more bits?
# Cost: 12 trainings of 300 steps on digits, about 20 minutes on one core. Further overrides may follow: ... seed=0,1,2
exec "${PYTHON:-python}" -m difflab -m schedule=linear,cosine parameterization=eps,x0,mu variance=fixed_beta,learned_range trainer.steps=300 "$@"

"""The bound L = L_T + sum of L_{t-1} + L_0: its terms, its estimators, its ledger."""

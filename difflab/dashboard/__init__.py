"""A W&B workspace and a report as code, `python -m difflab.dashboard`.

sections.py    the sections, what each says and which keys it shows: also the chapters of task=report's page
workspace.py   their panels as wandb-workspaces has them (the one module that imports it); push.py: to a server
"""

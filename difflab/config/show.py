"""--help and --cfg: Hydra's own text of the configuration that was checked, which hydra.main would compose once more."""

from __future__ import annotations

import copy
from argparse import Namespace
from collections.abc import Sequence
from functools import cache
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra

from .compose import Composer, translated


def show(args: Namespace, overrides: Sequence[str], composing: Composer) -> None:
    """Print what `args` asks for; SystemExit if there is no `args.package`."""
    cfg = composing.compose(overrides)
    app: Any = GlobalHydra.instance().hydra  # the composer's, gone with it
    app.config_loader.load_configuration = lambda *_, **__: copy.deepcopy(cfg)
    app.config_loader.get_group_options = cache(app.config_loader.get_group_options)  # --help asks twice for each
    with translated(lambda: composing.schema, overrides):
        if args.help:
            app.app_help("config", get_args_parser(), args)
        else:
            app.show_cfg("config", overrides, cfg_type=args.cfg, package=args.package, resolve=args.resolve)

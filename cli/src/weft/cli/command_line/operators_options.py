"""The options by which processes open ports for operators, and coordinators one for webhooks."""

from __future__ import annotations

from typing import Annotated

import typer

Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="[https://]HOST:PORT",
        help="Let Prometheus scrape metrics there; with https:// by TLS. [default: nowhere]",
    ),
]

Channelz = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Let operators ask for its servers, channels and connections there (gRPC's channelz). [default: nowhere]",
    ),
]

Hooks = Annotated[
    str | None,
    typer.Option(
        metavar="[https://]HOST:PORT",
        help="Take webhooks of other systems there (weft hooks); with https:// by TLS. [default: nowhere]",
    ),
]

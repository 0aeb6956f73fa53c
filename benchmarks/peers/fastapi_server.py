"""The stages behind FastAPI and uvicorn, as people serve them who know both well.

The body is the picture itself, so that no form has to be parsed; the work is done on as many threads as there are
processors, not on the forty of Starlette; the answer is serialised by orjson on the same thread, and no model of
Pydantic looks at it; uvicorn has uvloop and httptools, and no access log. With `--observed` it has one, and metrics.
"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from in_flight import InFlightLimit
from observed import Observed
from stages import only_model


def main() -> None:
    """Serves until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--most-in-flight", type=int)
    parser.add_argument("--observed", action="store_true")
    arguments = parser.parse_args()

    app, detect = FastAPI(), only_model(arguments.repository)
    threads = ThreadPoolExecutor(arguments.threads)
    if arguments.most_in_flight is not None:
        app.add_middleware(InFlightLimit, most=arguments.most_in_flight)
    if arguments.observed:
        app.add_middleware(Observed)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        data = await request.body()
        found = await asyncio.get_running_loop().run_in_executor(threads, lambda: orjson.dumps(detect(data)))
        return Response(found, media_type="application/json")

    uvicorn.run(
        app,
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        access_log=arguments.observed,
        log_level="info" if arguments.observed else "warning",
    )


if __name__ == "__main__":
    main()

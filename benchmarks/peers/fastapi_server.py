"""The stages behind FastAPI and uvicorn, as people serve them who know both well.

The body is the picture itself, so that no form has to be parsed; the work is done on as many threads as there are
processors, not on the forty of Starlette; the answer is serialised by orjson; uvicorn has uvloop and httptools, and no
access log. With `--most-in-flight` it refuses what goes beyond that, five lines that one has to know of.
"""

from __future__ import annotations

import argparse
import asyncio
from concurrent.futures import ThreadPoolExecutor

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from stages import bundled_detect


def main() -> None:
    """Serves until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--most-in-flight", type=int)
    arguments = parser.parse_args()

    app, detect = FastAPI(), bundled_detect()
    threads = ThreadPoolExecutor(arguments.workers)
    in_flight = 0

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        nonlocal in_flight
        if arguments.most_in_flight is not None and in_flight >= arguments.most_in_flight:
            return Response(status_code=503)
        in_flight += 1
        try:
            data = await request.body()
            found = await asyncio.get_running_loop().run_in_executor(threads, lambda: orjson.dumps(detect(data)))
        finally:
            in_flight -= 1
        return Response(found, media_type="application/json")

    uvicorn.run(app, port=arguments.port, loop="uvloop", http="httptools", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()

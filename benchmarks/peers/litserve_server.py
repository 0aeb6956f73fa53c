"""The stages behind LitServe: a process for each worker, and one in front of them.

LitServe's own ways of getting a picture, a form or JSON with base64, cost more than the body as it is, which takes a
dependency of FastAPI; and an answer that its worker serialises costs less than one of which FastAPI has to make JSON.
uvicorn finds uvloop and httptools, as they are installed. A batch is a list of pictures, which gains nothing on
processors, and is what its users turn on first.
"""

# No postponed annotations: LitServe and FastAPI read those of `decode_request`.
import argparse
from pathlib import Path
from typing import Annotated, Any

import litserve
import orjson
from fastapi import Depends, Request, Response
from in_flight import InFlightLimit
from stages import only_model


async def body(request: Request) -> bytes:
    """The body as it is."""
    return await request.body()


class Detector(litserve.LitAPI):
    """Asked by LitServe, each of its processes having one."""

    def __init__(self, repository: Path, **options: Any) -> None:  # noqa: ANN401 - LitServe's own
        super().__init__(api_path="/predict", **options)
        self._repository = repository

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's own
        """Loads the model."""
        self._detect = only_model(self._repository)

    def decode_request(self, request: Annotated[bytes, Depends(body)]) -> bytes:
        """The body is the picture."""
        return request

    def predict(self, picture: Any) -> Any:  # noqa: ANN401 - a picture, or with batches a list of them
        """Looks at a picture, or at a batch of them."""
        return [self._detect(each) for each in picture] if isinstance(picture, list) else self._detect(picture)

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """A batch, of which nothing has to be made."""
        return inputs

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As above."""
        return output

    def encode_response(self, output: dict[str, Any]) -> Response:
        """JSON that nobody touches any more."""
        return Response(orjson.dumps(output), media_type="application/json")


def main() -> None:
    """Serves until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1, help="most pictures of one")
    parser.add_argument("--batch-timeout-s", type=float, default=0, help="how long one is collected")
    parser.add_argument("--timeout-s", type=float, default=30, help="how long a request may wait; LitServe's default")
    parser.add_argument("--most-in-flight", type=int)
    arguments = parser.parse_args()
    api = Detector(arguments.repository, max_batch_size=arguments.batch, batch_timeout=arguments.batch_timeout_s)
    most = arguments.most_in_flight
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=arguments.workers,
        timeout=arguments.timeout_s,
        middlewares=[] if most is None else [(InFlightLimit, {"most": most})],
    )
    server.run(port=arguments.port, num_api_servers=1, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()

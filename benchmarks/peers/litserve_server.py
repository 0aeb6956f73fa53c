"""The stages behind LitServe: one process for each worker, or one that gets batches, as its documentation has it.

Of a body LitServe takes JSON or a form; a form is cheaper. A batch is a list of pictures, which gains nothing on
processors, and is what its users turn on first.
"""

# No postponed annotations: LitServe compares that of `decode_request` with the class.
import argparse
from typing import Any

import litserve
from fastapi import Request
from stages import bundled_detect


class Detector(litserve.LitAPI):
    """Asked by LitServe, each of its processes having one."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's own
        """Loads the model."""
        self.detect = bundled_detect()

    def decode_request(self, request: Request) -> bytes:
        """The picture is a file of the form."""
        data: bytes = request["file"].file.read()
        return data

    def predict(self, picture: Any) -> Any:  # noqa: ANN401 - a picture, or with batches a list of them
        """Looks at a picture, or at a batch of them."""
        return [self.detect(each) for each in picture] if isinstance(picture, list) else self.detect(picture)

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        """A batch, of which nothing has to be made."""
        return inputs

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As above."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """LitServe makes JSON of it."""
        return output


def main() -> None:
    """Serves until terminated."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    api = Detector(max_batch_size=arguments.batch, batch_timeout=0.005 if arguments.batch > 1 else 0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=arguments.workers, timeout=False)
    server.run(port=arguments.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()

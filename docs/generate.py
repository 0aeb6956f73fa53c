"""Writes the pages that are made from the code; with --check, only says whether they are current."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from openapi import openapi

from detector_grpc import settings
from detector_grpc.gateway.local_errors import LOCAL_ERRORS, REFUSED, STOPPING
from detector_grpc.rpc.status import CODES, INTERNAL_REASON, UNIMPLEMENTED_REASON

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]

CONFIGURATION = """\
# Configuration

A setting comes from a flag of `detector-grpc serve` or `up`, else from the environment, else from the file that
`--config` (or `DETECTOR_CONFIG`) names, else from its default. The file is YAML with a mapping per section:

```yaml
server:
  port: 50052
limits:
  max_queue: 16
```

All faults are reported at once, each with the name of its variable. `detector-grpc doctor` takes the same settings and
says what is wrong on a machine.

In Kubernetes give the pod `enableServiceLinks: false`, or do not call a Service `detector-…`: the variables that
Kubernetes makes of such a name can look like settings.

| variable | flag | in the file | default | meaning |
|---|---|---|---|---|
"""

ERRORS = """\
# Errors

Every error has a canonical gRPC code, a sentence that says what was wrong, the limit and the actual value, and as
`google.rpc.Status` details:

- `ErrorInfo`: the `reason` below for programs, the domain `detector.v1`, limits and actual values as metadata;
- `RequestInfo`: the request's id, under which the server's log has the call; also in the metadata key `x-request-id`;
- `BadRequest` with every field at fault, where the request is to blame;
- `RetryInfo`, where the same request may succeed later;
- `ResourceInfo`, where a model or version is meant.

RESOURCE_EXHAUSTED is overload: wait as long as `RetryInfo` says (`retry_after_s` of the Python client's `CallFailed`).
It is never UNAVAILABLE, which gateways retry at once.
A request more than 1 MiB above the limit is refused by gRPC itself, with the same code and without details. What no row
names is our fault: INTERNAL, and nothing but the request's id.

| reason | code | when |
|---|---|---|
"""


GATEWAY_ERRORS = """
## Errors of the gateway

What Envoy refuses itself reaches callers of REST in the same shape, with `ErrorInfo` alone, and callers of gRPC as a
status.

| HTTP | reason | code | when |
|---|---|---|---|
"""


def configuration() -> str:
    """docs/configuration.md."""
    rows = []
    for path, variable, field in settings.variables():
        flag = "--" + path.replace(".", "-").replace("_", "-")
        default = settings.default_text(field) and f"`{settings.default_text(field)}`"
        rows.append(f"| `{variable}` | `{flag}` | `{path}` | {default} | {field.description} |")
    return CONFIGURATION + "\n".join(rows) + "\n"


def errors() -> str:
    """docs/errors.md."""
    rows = [f"| `{error.reason}` | {code.name} | {_meaning(error.__doc__)} |" for error, code in CODES.items()]
    rows.append(f"| `{UNIMPLEMENTED_REASON}` | UNIMPLEMENTED | The contract has the method, this server not yet. |")
    rows.append(f"| `{INTERNAL_REASON}` | INTERNAL | Unexpected; the server's log has the cause. |")
    return ERRORS + "\n".join(rows) + "\n" + GATEWAY_ERRORS + "\n".join(_gateway_errors()) + "\n"


def _gateway_errors() -> Iterator[str]:
    codes = {code.value[0]: code.name for code in grpc.StatusCode}
    for status, error in (*LOCAL_ERRORS.items(), (503, STOPPING), ("4xx", REFUSED)):
        yield f"| {status} | `{error.reason}` | {codes[error.code]} | {error.meaning} |"


def _meaning(docstring: str | None) -> str:
    """The first sentences of an error's docstring, without whether it is expected."""
    first = (docstring or "").split("\n\n")[0].replace("\n    ", " ")
    meaning = first.removeprefix("Expected. ").removeprefix("Unexpected: ")
    return meaning[0].upper() + meaning[1:]


def main() -> None:
    """Writes, or compares."""
    pages = {
        "docs/configuration.md": configuration(),
        "docs/errors.md": errors(),
        "src/detector_grpc/gateway/openapi.json": json.dumps(openapi(), indent=2) + "\n",
    }
    for name, text in pages.items():
        path = ROOT / name
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            raise SystemExit(f"{name} is not current: run `make proto`")


if __name__ == "__main__":
    main()

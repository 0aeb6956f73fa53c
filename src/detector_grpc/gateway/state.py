"""The folder of one gateway: its plan, its traffic, and Envoy's files that follow from them."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from detector_grpc.errors import SetupInvalid
from detector_grpc.gateway.envoy import BOOTSTRAP_FILE, ROUTES_FILE, render, to_yaml
from detector_grpc.gateway.plan import Plan
from detector_grpc.gateway.routes import route_table, routed
from detector_grpc.gateway.traffic import Traffic, initial, read_traffic
from detector_grpc.lock import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import PurePath

log = logging.getLogger(__name__)

PLAN_FILE = "plan.json"
TRAFFIC_FILE = "traffic.yaml"
ADMIN_ADDRESS_FILE = "admin-address"

# Who changes the traffic waits some seconds for Envoy.
TURN_S = 20.0


class State:
    """A folder in which a gateway was prepared, or will be.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, plan: Plan, place: PurePath | None = None) -> None:
        """Writes every file. How the traffic is shared stays as it was, as long as its versions are still there.

        Args:
            plan: The gateway.
            place: The folder in which Envoy will find the files; None: where they are written.

        Raises:
            SetupInvalid: A file cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupInvalid([f"cannot write into {self.folder}: {error.strerror}"]) from error
        with self.changing():
            traffic = self._traffic_before(plan)
            files = render(plan, traffic, place or self.folder.absolute())
            files |= {PLAN_FILE: plan.model_dump_json(indent=2).encode(), TRAFFIC_FILE: traffic.to_yaml().encode()}
            for name, content in files.items():
                self._write(name, content)

    def forget_envoy(self) -> None:
        """To be called before an Envoy is started, which will say where its own interface is."""
        (self.folder / ADMIN_ADDRESS_FILE).unlink(missing_ok=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keeps others from changing the traffic until it is left, so that nobody undoes what he has not seen.

        Raises:
            SetupInvalid: There is no such folder, or somebody is changing it for ever.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder, TURN_S))
            except BlockingIOError:
                who = "another process, suspended perhaps,"
                raise SetupInvalid([f"{who} has been changing the traffic of {self.folder} for {TURN_S:g} s"]) from None
            except OSError as error:
                raise SetupInvalid([f"cannot use {self.folder} (DETECTOR_GATEWAY_STATE): {error.strerror}"]) from error
            yield

    def change(self, traffic: Traffic) -> None:
        """Shares the traffic in another way, from the moment that Envoy has seen it.

        Raises:
            SetupInvalid: The gateway was never prepared, or a file cannot be written.
        """
        self._write(ROUTES_FILE, to_yaml(route_table(self.plan(), traffic)))
        self._write(TRAFFIC_FILE, traffic.to_yaml().encode())

    def plan(self) -> Plan:
        """The plan.

        Raises:
            SetupInvalid: There is none.
        """
        try:
            return Plan.model_validate_json((self.folder / PLAN_FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise SetupInvalid([f"{self.folder} is not the state of a gateway (DETECTOR_GATEWAY_STATE)"]) from error

    def traffic(self) -> Traffic:
        """How the traffic is shared.

        Raises:
            SetupInvalid: The gateway was never prepared, or somebody has broken the file.
        """
        plan = self.plan()
        return read_traffic(self.folder / TRAFFIC_FILE, plan.versions) or initial(plan.versions, plan.default_version)

    def routed(self) -> Traffic:
        """How the routes file shares the traffic.

        Raises:
            SetupInvalid: It cannot be read, or is none of ours.
        """
        path = self.folder / ROUTES_FILE
        try:
            return routed(yaml.safe_load(path.read_text(encoding="utf-8"))["resources"][0])
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SetupInvalid([f"{path} cannot be read: {' '.join(str(error).split())}"]) from error
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise SetupInvalid([f"{path} is no route table of ours"]) from error

    def envoy_arguments(self) -> list[str]:
        """What the command that runs Envoy is to be given."""
        return [
            "--config-path",
            str(self.folder / BOOTSTRAP_FILE),
            "--admin-address-path",
            str(self.folder / ADMIN_ADDRESS_FILE),
            "--disable-hot-restart",
            "--log-level",
            "warning",
        ]

    def admin_address(self) -> str:
        """Where Envoy's own interface is, `host:port`.

        Raises:
            SetupInvalid: Envoy has not been started.
        """
        try:
            address = (self.folder / ADMIN_ADDRESS_FILE).read_text(encoding="ascii").strip()
        except OSError:
            address = ""
        if not address:  # or Envoy is about to write it
            raise SetupInvalid([f"no gateway has been started in {self.folder} (DETECTOR_GATEWAY_STATE)"])
        return address

    def _traffic_before(self, plan: Plan) -> Traffic:
        """How the traffic was shared: by its file, and where somebody has broken that, by the routes."""
        path = self.folder / TRAFFIC_FILE
        try:
            traffic = read_traffic(path, plan.versions)
        except SetupInvalid as error:  # written for other versions, say; it is kept beside the new one
            traffic = self._routed_among(plan.versions)
            log.warning("traffic is shared as %s: %s", traffic or "at first", error.message)
            path.replace(path.with_name(f"{path.name}.old"))
        return traffic or initial(plan.versions, plan.default_version)

    def _routed_among(self, versions: Sequence[str]) -> Traffic | None:
        """As `routed`; None where that is not known, or there are others among them."""
        try:
            traffic = self.routed()
        except SetupInvalid:
            return None
        return traffic if {*traffic.weights, *traffic.shadow} <= {*versions} else None

    def _write(self, name: str, content: bytes) -> None:
        """Replaces a file in one step: Envoy sees only what was renamed, and never half of it."""
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.")
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), 0o644)  # also for an Envoy of another user
            Path(temporary).replace(self.folder / name)
        except OSError as error:
            raise SetupInvalid([f"cannot write {self.folder / name}: {error.strerror}"]) from error

"""What the commands that bring models are asked alike: from where, and into which repository."""

from __future__ import annotations

import functools
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from detector_grpc.cli.converting import converting
from detector_grpc.cli.options import with_settings_of
from detector_grpc.cli.progress import byte_bar
from detector_grpc.errors import ModelInvalid, SetupInvalid, listed
from detector_grpc.hub.catalogue import catalogue
from detector_grpc.hub.places import file_name, source_at
from detector_grpc.hub.pull import Wanted, pull
from detector_grpc.hub.shelf import model_name
from detector_grpc.hub.source import PullFailed, TryAgain
from detector_grpc.serving.repository import NAME, NAME_RULE
from detector_grpc.serving.session import OnnxFile, import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress, TaskID

    from detector_grpc.hub.pull import Pulled
    from detector_grpc.setting_sections.models import ConversionSettings
    from detector_grpc.settings import Settings

# Where models go if nothing says so: what the documentation calls the folder.
DEFAULT_REPOSITORY = Path("models")

# As a shell reports a command that was ended by Ctrl-C.
_INTERRUPTED_EXIT_CODE = 130


@dataclass(frozen=True)
class Pulling:
    """Where models come from and go to.

    Attributes:
        repository: The model repository.
        mirror: Address of a folder with the files of the catalogue; empty for where their makers have them.
        hub: URL that `hf://` stands for.
        retries: Tries after one that has brought nothing.
        conversion: How checkpoints become models.
    """

    repository: Path
    mirror: str
    hub: str
    retries: int
    conversion: ConversionSettings

    def of_catalogue(self, name: str, model: str, version: str = "") -> Wanted:
        """A model of the catalogue.

        Raises:
            click.ClickException: There is none of the name.
        """
        entry = catalogue().models.get(name)
        if entry is None:
            known = listed(catalogue().models, most=100)
            raise click.ClickException(f'the catalogue has no "{name}"; it has {known}. An address has a ://')
        address = f"{self.mirror.rstrip('/')}/{entry.file}" if self.mirror else entry.url
        wanted = self.at(address, catalogue().manifest(name), entry.digests, model or name, version)
        return wanted if entry.needs is None else replace(wanted, make=converting(self.conversion, entry.file))

    def at(self, address: str, manifest: str, digests: frozenset[str], model: str = "", version: str = "") -> Wanted:
        """The file at an address.

        Raises:
            click.ClickException: There cannot be one.
        """
        try:
            source = source_at(address, self.hub)
        except PullFailed as failure:
            raise click.ClickException(str(failure)) from failure
        name = model or model_name(file_name(address))
        return Wanted(source, address, digests, manifest, self.repository, name, version)

    def bring(self, wanted: Wanted) -> Pulled:
        """Brings it, and tells how it goes.

        Raises:
            click.ClickException: That failed, for a reason that is told with what to do.
        """
        import_onnxruntime()  # or all would have come for nothing
        try:
            return pull(wanted, _watching(wanted), OnnxFile, retries=self.retries)
        except TryAgain as failure:
            raise click.ClickException(f"{failure}\n{_without_network(wanted)}") from failure
        except PullFailed as failure:
            raise click.ClickException(_shown(str(failure))) from failure
        except ModelInvalid as error:
            advice = "" if wanted.manifest else "; --manifest FILE says what the file does not"
            why = _shown(f"{wanted.source.name} cannot be served: {error.message}{advice}")
            raise click.ClickException(why) from error
        except KeyboardInterrupt:
            left = (
                "What has come is kept: the same command goes on from there"
                if wanted.make is None
                else "Nothing is left"
            )
            click.echo(f"\nStopped. {left}.", err=True)
            raise click.exceptions.Exit(_INTERRUPTED_EXIT_CODE) from None


def pulling(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command these options, and the Pulling as its argument `how`."""

    @with_settings_of("models", "conversion", "hf_endpoint")
    @click.option(
        "--retries",
        type=click.IntRange(0, 100),
        default=4,
        show_default=True,
        help="Tries after one that has brought nothing, 0.5, 1, 2, … s later.",
    )
    @functools.wraps(command)
    def run(settings: Settings, *, retries: int, **others: object) -> None:
        repository = settings.models.repository or DEFAULT_REPOSITORY
        how = Pulling(repository, settings.models.mirror, settings.hf_endpoint, retries, settings.conversion)
        command(how=how, **others)

    return run


def checked_name(context: click.Context, parameter: click.Parameter, value: str) -> str:  # noqa: ARG001 - click's own
    """The name of a model or version; none is left to others.

    Raises:
        click.BadParameter: It cannot be one.
    """
    if value and not NAME.fullmatch(value):
        raise click.BadParameter(f"{NAME_RULE}; got {value!r}")
    return value


def checked_digest(text: str) -> str:
    """A sha256 as people write it, in the digits that we compare.

    Raises:
        SetupInvalid: It is none.
    """
    digits = text.strip().lower().removeprefix("sha256:")
    if len(digits) != 64 or set(digits) - set("0123456789abcdef"):  # noqa: PLR2004 - 256 bits
        raise SetupInvalid([f"--sha256 takes 64 hexadecimal digits, got {text}"])
    return digits


def _shown(text: str) -> str:
    """A text that may quote a file: nothing in it steers a terminal."""
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text)


def _without_network(wanted: Wanted) -> str:
    file = file_name(wanted.address)
    return (
        f"The same command goes on where this one ended. Where there is no network, bring {file} from a machine that "
        "has one, and give the folder where it lies: --models-mirror file:///FOLDER for names of the catalogue, "
        f"file:///FOLDER/{file} for others. Where there is a proxy, set HTTPS_PROXY."
    )


class _Shown:
    """Shows how it goes. See Watcher."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def moved(self, done_bytes: int, size_bytes: int | None) -> None:
        """See Watcher."""
        self._bar.update(self._task, completed=done_bytes, total=size_bytes)

    def waits(self, cause: str, for_s: float) -> None:
        """See Watcher."""
        self._bar.console.print(f"{cause}; trying again in {for_s:g} s", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _watching(wanted: Wanted) -> Iterator[_Shown]:
    bar = byte_bar()
    with bar:
        verb = "Reading" if wanted.make and wanted.address.startswith("file:") else "Pulling"
        bar.console.print(f"{verb} {wanted.source.name}", highlight=False, markup=False, soft_wrap=True)
        yield _Shown(bar, bar.add_task(wanted.model, total=None))

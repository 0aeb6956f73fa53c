"""How calls that choose no version themselves are shared among versions; one small file, edited while Envoy runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from detector_grpc.errors import SetupInvalid, listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Of all weights together, which Envoy adds up in 32 bits and gets in thousandths.
MAX_WEIGHT = 1_000_000

ALL_PERCENT = 100
LEAST_PERCENT = 0.0001  # Envoy takes fractions in millionths


@dataclass(frozen=True)
class Traffic:
    """Shares of versions.

    Attributes:
        weights: Shares of the calls by version, in proportion to their sum, those of 0 left out. Empty: the servers
            choose.
        shadow: Fraction by version of the calls that go to others, of which it gets copies; range (0, 1].
    """

    weights: Mapping[str, int]
    shadow: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """As the commands take it, "v1=80 v2=20, shadow v2=10%"."""
        weights = " ".join(f"{version}={weight}" for version, weight in self.weights.items())
        shadow = "".join(f", shadow {version}={percent(fraction)}" for version, fraction in self.shadow.items())
        return f"{weights or 'no weights'}{shadow}"

    def to_yaml(self) -> str:
        """As kept in a file."""
        return yaml.safe_dump({"weights": dict(self.weights), "shadow": dict(self.shadow)}, sort_keys=False)


def initial(versions: Sequence[str], default_version: str) -> Traffic:
    """All calls to the default version; where it is not there, the servers say so."""
    return Traffic({default_version: 100} if default_version in versions else {})


def parse_weights(words: Sequence[str], versions: Sequence[str]) -> dict[str, int]:
    """Weights as somebody writes them, "v1=80".

    Raises:
        SetupInvalid: They are none; all that is wrong is named.
    """
    texts, faults = _split(words, versions)
    weights = {}
    for version, text in texts.items():
        weight = int(text) if text.isascii() and text.isdecimal() else None
        if weight is not None and weight <= MAX_WEIGHT:
            weights[version] = weight
        else:
            faults.append(f'the weight of {version} must be a whole number from 0 to {MAX_WEIGHT}, got "{text}"')
    if not faults and not 1 <= sum(weights.values()) <= MAX_WEIGHT:
        faults.append(
            f"the sum of all weights must be from 1 to {MAX_WEIGHT}, "
            f"got {listed(f'{each}={text}' for each, text in texts.items())}"
        )
    if faults:
        raise SetupInvalid(faults)
    return {version: weight for version, weight in weights.items() if weight}


def parse_shadow(words: Sequence[str], versions: Sequence[str]) -> dict[str, float]:
    """The version that gets copies and the percentage of the calls, "v2=10%"; none where that is 0.

    Raises:
        SetupInvalid: It is none; all that is wrong is named.
    """
    texts, faults = _split(words, versions)
    shadow = {}
    for version, text in texts.items():
        percentage = _number(text.removesuffix("%")) if text.endswith("%") else None
        if percentage is None or not 0 <= percentage <= ALL_PERCENT:
            faults.append(f'the share of {version} must be a percentage from 0% to 100%, got "{text}"')
        elif 0 < percentage < LEAST_PERCENT:
            faults.append(f'the share of {version} must be 0% or at least {LEAST_PERCENT:f}%, got "{text}"')
        elif percentage:
            shadow[version] = round(percentage / ALL_PERCENT, 6)
    if len(shadow) > 1:
        faults.append(f"only one version can get copies, got {listed(sorted(shadow))}")
    if faults:
        raise SetupInvalid(faults)
    return shadow


def read_traffic(path: Path, versions: Sequence[str]) -> Traffic | None:
    """What a file says; None where there is none.

    Raises:
        SetupInvalid: It cannot be read, or is none.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SetupInvalid([f"{path} cannot be read: {' '.join(str(error).split())}"]) from error
    try:
        weights = [f"{version}={weight}" for version, weight in content["weights"].items()]
        shadow = [f"{version}={percent(fraction)}" for version, fraction in content["shadow"].items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SetupInvalid([f"{path} must have weights and shadow, numbers by version"]) from error
    try:
        return Traffic(parse_weights(weights, versions) if weights else {}, parse_shadow(shadow, versions))
    except SetupInvalid as error:
        raise SetupInvalid([f"{path}: {fault}" for fault in error.faults]) from error


def _split(words: Sequence[str], versions: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The values by version, and what is wrong with the versions."""
    texts: dict[str, str] = {}
    faults = []
    for word in words:
        version, equals, text = word.partition("=")
        if not equals:
            faults.append(f'"{word}" is not of the form version=value')
        elif version not in versions:
            faults.append(f'the gateway knows no version "{version}"; it knows {listed(versions) or "none"}')
        elif version in texts:
            faults.append(f"{version} is named twice")
        else:
            texts[version] = text
    return texts, faults


def percent(fraction: float) -> str:
    """A fraction as somebody writes it."""
    return f"{ALL_PERCENT * fraction:.6g}%"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

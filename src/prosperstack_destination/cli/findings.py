"""Findings of `doctor`: the result of one check."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Result of one check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its subject, its result, and advice."""

    what: str
    severity: Severity
    #: Observation that the severity follows from.
    observation: str
    #: Action for the operator; "" if none is needed.
    advice: str = ""

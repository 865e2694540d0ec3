"""Suggested rules for mapping problems. Each is tried on stored people first."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, load, mapping_input
from prosperstack_destination.mapping.catalog import Property, PropertyType
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.mapping_file import InvalidMapping, as_yaml, check_mapping
from prosperstack_destination.mapping.rules import KEEP, SUBSCRIPTION, Rule, Rules
from prosperstack_destination.reconcile.preview import count_problems
from prosperstack_destination.store import problems, profile_queries, profiles
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.problems import ProblemGroup
from prosperstack_destination.store.profile_queries import ScannedProfile

#: Problem groups of a page that get a suggestion at most.
MAX_GROUPS: Final = 10
#: People with the problem, and other people of the account, for tests of a rule.
MAX_AFFECTED: Final = 50
MAX_OTHERS: Final = 500

#: Words that mean a boolean.
_BOOLEAN_WORDS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("yes", "y", "on", "enabled", "active"), True),
    **dict.fromkeys(("no", "n", "off", "disabled", "inactive"), False),
}
#: Date formats to try. If two of them read a text as different days, none is suggested.
_DATE_FORMATS: Final = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"),
)


#: Parts of the reasons of values that are not dates.
_DATE_REASONS: Final = ("date of the form", "is not an ISO 8601 date", "is no date and time")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rule that helps, and the result of its trial."""

    #: In the form of a mapping file, and as a file of its own.
    rule: dict[str, JsonValue]
    yaml: str
    #: Number of people in the test, and of their problems with the property before and after.
    looked_at: int
    problems_before: int
    problems_after: int

    @property
    def as_json(self) -> str:
        """The rule as JSON text."""
        return json.dumps(self.rule)


def suggest_rules(
    connection: Connection, account: Account, groups: Sequence[ProblemGroup], now: int
) -> dict[tuple[str, str], Suggestion]:
    """Return the rules that help, by property and reason of the problem, as of ``now``. A unit of work.

    A rule is suggested if its trial, on people with the problem and on others, leaves fewer problems.
    """
    mapping = load(connection, account)
    others: list[ScannedProfile] | None = None
    suggestions: dict[tuple[str, str], Suggestion] = {}
    for group in groups[:MAX_GROUPS]:
        samples = problems.samples(connection, account.id, group.property, group.reason, MAX_AFFECTED)
        rules = list(_candidates(mapping, group, [each.value for each in samples]))
        if not rules:
            continue
        if others is None:
            others = profile_queries.scan_page(connection, account.id, "", limit=MAX_OTHERS)
        people = _people(connection, others, {each.profile_id for each in samples}, now)
        best = min((_try_rule(mapping, rule, people) for rule in rules), key=lambda each: each.problems_after)
        if best.problems_after < best.problems_before:
            suggestions[group.property, group.reason] = best
    return suggestions


def _people(
    connection: Connection, others: Sequence[ScannedProfile], affected: Collection[int], now: int
) -> list[MappingInput]:
    found = [profiles.get(connection, each) for each in affected]
    people = [mapping_input(each, now) for each in found if each is not None]
    return [*people, *(mapping_input(each, now) for each in others if each.id not in affected)]


def _try_rule(mapping: AccountMapping, rule: Rule, people: Sequence[MappingInput]) -> Suggestion:
    others = (each for each in mapping.rules.rules if each.property != rule.property)
    rules = mapping.rules.model_copy(update={"rules": (*others, rule)})
    before, after = count_problems(people, *mapping.compiled.diff(mapping.with_rules(rules)))
    written = rule.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return Suggestion(written, as_yaml(Rules(rules=(rule,))), len(people), before, after)


def _candidates(mapping: AccountMapping, group: ProblemGroup, values: Sequence[JsonValue]) -> Iterator[Rule]:
    """Yield rules that may help; none changes a value that is already valid."""
    target = _target(mapping, group.property)
    if target is None or group.is_rejected:
        return
    now = mapping.rules.by_property().get(group.property)
    written: dict[str, Any] = {"property": group.property, "trait": group.samples[0].trait}
    if now is not None:
        written = now.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for change in _changes(group.reason, target.type, now, written, values):
        try:
            rule = {name: value for name, value in {**written, **change}.items() if value is not None}
            yield check_mapping({"rules": [rule]}).rules.rules[0]
        except InvalidMapping:  # as if an expression became too long
            continue


def _target(mapping: AccountMapping, key: str) -> Property | None:
    if key.startswith(SUBSCRIPTION):
        return mapping.subscription_catalog.get(key.removeprefix(SUBSCRIPTION))
    return mapping.catalog.get(key)


def _changes(
    reason: str, kind: PropertyType, now: Rule | None, written: Mapping[str, Any], values: Sequence[JsonValue]
) -> Iterator[dict[str, Any]]:
    clean = list(written.get("clean", ()))
    if "none of true, t, 1, false, f, 0" in reason:
        texts = {each.strip() for each in values if isinstance(each, str)}
        words = {each: _BOOLEAN_WORDS[each.lower()] for each in sorted(texts) if each.lower() in _BOOLEAN_WORDS}
        if words:
            trimmed = clean if "trim" in clean else [*clean, "trim"]
            table = {**words, **written.get("values", {})}
            yield {"fallback": KEEP, **_existing(written, "fallback"), "clean": trimmed, "values": table}
    elif any(words in reason for words in _DATE_REASONS):
        forms = _matching_formats(each for each in values if isinstance(each, str))
        if forms:
            yield {"clean": _with_date_formats(clean, forms)}
    elif "table (values) lacks it" in reason:
        yield {"fallback": KEEP}
    elif "is not a single value" in reason and kind is PropertyType.TEXT:
        yield {"clean": [*clean, "join"]}
    elif "only 1 and 0 are booleans" in reason and now is None:
        trait = _path(written["trait"])
        yield {"trait": None, "from": f"type({trait}) == 'number' && {trait} > `0` || {trait}"}


def _existing(written: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: written[name]} if name in written else {}


def _path(trait: str) -> str:
    quoted = trait.replace("\\", "\\\\").replace('"', '\\"')
    return f'traits."{quoted}"'


def _matching_formats(texts: Iterator[str]) -> list[str]:
    """Return the formats that read all texts; none if two of them read any text as different days."""
    wanted = [each.strip() for each in texts]
    fits = [form for form in _DATE_FORMATS if wanted and all(_parse_day(each, form) is not None for each in wanted)]
    if any(len({_parse_day(each, form) for form in fits}) > 1 for each in wanted):
        return []
    return fits[:1]


def _parse_day(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 -- a day has no zone
    except ValueError:
        return None


def _with_date_formats(clean: Sequence[Any], forms: Sequence[str]) -> list[Any]:
    """Add date formats to transforms, before a time zone, which needs a parsed date."""
    found: list[Any] = []
    known: Collection[str] = ()
    for each in clean:
        if isinstance(each, Mapping) and "date_format" in each:
            before = each["date_format"]
            known = [before] if isinstance(before, str) else before
            found.append({"date_format": [*known, *forms]})
        else:
            found.append(each)
    if known:
        return found
    return [{"date_format": forms[0] if len(forms) == 1 else list(forms)}, *found]

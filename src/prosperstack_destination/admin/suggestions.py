"""Rules that would help against problems, each tried out on stored people before it is suggested."""

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
from prosperstack_destination.store import problems, profile_scan, profiles
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.problems import ProblemGroup
from prosperstack_destination.store.profile_scan import ScannedProfile

#: Problems that rules are looked for, of those on a page.
MOST: Final = 10
#: People with the problem, and people of the account, on whom a rule is tried out.
AFFECTED: Final = 50
OTHERS: Final = 500

#: Words that mean a boolean.
_WORDS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("yes", "y", "on", "enabled", "active"), True),
    **dict.fromkeys(("no", "n", "off", "disabled", "inactive"), False),
}
#: Forms of dates. Those that read the same text as another day are told apart by the values, or not suggested.
_FORMS: Final = (
    *("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"),
)


#: How reasons say that text is no date.
_NO_DATES: Final = ("date of the form", "is not an ISO 8601 date", "is no date and time")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rule that helps, and what came of trying it out."""

    #: In the form of a mapping file, and as a file of its own.
    rule: dict[str, JsonValue]
    yaml: str
    #: People on whom it was tried out, and their problems of the property before and after.
    looked_at: int
    problems_before: int
    problems_after: int

    @property
    def as_json(self) -> str:
        """The rule as JSON text."""
        return json.dumps(self.rule)


def suggested(
    connection: Connection, account: Account, groups: Sequence[ProblemGroup]
) -> dict[tuple[str, str], Suggestion]:
    """A unit of work: the rules that help, by the property and the reason of the problem.

    A rule is suggested where trying it out on people who have the problem, and on others, leaves fewer problems.
    """
    meaning = load(connection, account)
    others: list[ScannedProfile] | None = None
    found: dict[tuple[str, str], Suggestion] = {}
    for group in groups[:MOST]:
        samples = problems.samples(connection, account.id, group.property, group.reason, AFFECTED)
        rules = list(_candidates(meaning, group, [each.value for each in samples]))
        if not rules:
            continue
        if others is None:
            others = profile_scan.page(connection, account.id, "", limit=OTHERS)
        people = _people(connection, others, {each.profile_id for each in samples})
        best = min((_tried(meaning, rule, people) for rule in rules), key=lambda each: each.problems_after)
        if best.problems_after < best.problems_before:
            found[group.property, group.reason] = best
    return found


def _people(
    connection: Connection, others: Sequence[ScannedProfile], affected: Collection[int]
) -> list[MappingInput]:
    found = [profiles.get(connection, each) for each in affected]
    people = [mapping_input(each) for each in found if each is not None]
    rest = (each for each in others if each.id not in affected)
    return [*people, *(MappingInput(each.values(), each.user_id, each.anonymous_id) for each in rest)]


def _tried(meaning: AccountMapping, rule: Rule, people: Sequence[MappingInput]) -> Suggestion:
    others = (each for each in meaning.rules.rules if each.property != rule.property)
    rules = meaning.rules.model_copy(update={"rules": (*others, rule)})
    before, after = count_problems(people, *meaning.compiled.diff(meaning.with_rules(rules)))
    written = rule.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return Suggestion(written, as_yaml(Rules(rules=(rule,))), len(people), before, after)


def _candidates(meaning: AccountMapping, group: ProblemGroup, values: Sequence[JsonValue]) -> Iterator[Rule]:
    """Rules that may help, of which each leaves alone what is good already."""
    target = _target(meaning, group.property)
    if target is None or group.is_set_aside:
        return
    now = meaning.rules.by_property().get(group.property)
    written: dict[str, Any] = {"property": group.property, "trait": group.samples[0].trait}
    if now is not None:
        written = now.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for change in _changes(group.reason, target.type, now, written, values):
        try:
            rule = {name: value for name, value in {**written, **change}.items() if value is not None}
            yield check_mapping({"rules": [rule]}).rules.rules[0]
        except InvalidMapping:  # as an expression that became too long
            continue


def _target(meaning: AccountMapping, key: str) -> Property | None:
    if key.startswith(SUBSCRIPTION):
        return meaning.subscription_catalog.get(key.removeprefix(SUBSCRIPTION))
    return meaning.catalog.get(key)


def _changes(
    reason: str, kind: PropertyType, now: Rule | None, written: Mapping[str, Any], values: Sequence[JsonValue]
) -> Iterator[dict[str, Any]]:
    clean = list(written.get("clean", ()))
    if "none of true, t, 1, false, f, 0" in reason:
        texts = {each.strip() for each in values if isinstance(each, str)}
        words = {each: _WORDS[each.lower()] for each in sorted(texts) if each.lower() in _WORDS}
        if words:
            trimmed = clean if "trim" in clean else [*clean, "trim"]
            table = {**words, **written.get("values", {})}
            yield {"fallback": KEEP, **_only(written, "fallback"), "clean": trimmed, "values": table}
    elif any(words in reason for words in _NO_DATES):
        forms = _forms(each for each in values if isinstance(each, str))
        if forms:
            yield {"clean": _with_forms(clean, forms)}
    elif "table (values) lacks it" in reason:
        yield {"fallback": KEEP}
    elif "is not a single value" in reason and kind is PropertyType.TEXT:
        yield {"clean": [*clean, "join"]}
    elif "only 1 and 0 are booleans" in reason and now is None:
        trait = _path(written["trait"])
        yield {"trait": None, "from": f"type({trait}) == 'number' && {trait} > `0` || {trait}"}


def _only(written: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: written[name]} if name in written else {}


def _path(trait: str) -> str:
    quoted = trait.replace("\\", "\\\\").replace('"', '\\"')
    return f'traits."{quoted}"'


def _forms(texts: Iterator[str]) -> list[str]:
    """The forms that read all of some texts; none where two of them read any text as different days."""
    wanted = [each.strip() for each in texts]
    fits = [form for form in _FORMS if wanted and all(_day(each, form) is not None for each in wanted)]
    if any(len({_day(each, form) for form in fits}) > 1 for each in wanted):
        return []
    return fits[:1]


def _day(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 -- a day has no zone
    except ValueError:
        return None


def _with_forms(clean: Sequence[Any], forms: Sequence[str]) -> list[Any]:
    """Clean-ups that read dates of these forms too: before a time zone, for which a date has to be read."""
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

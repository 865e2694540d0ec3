"""The mapping's editor: a draft of the file, tried out as somebody types, previewed for everybody, and applied.

Drafts are kept nowhere but in the form, which sends them along with everything that is done to them.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from pydantic import ValidationError
from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.account_mapping import AccountMapping, load
from prosperstack_destination.admin import mapping as operations
from prosperstack_destination.admin.mapping_trial import TrialResult, run_trial
from prosperstack_destination.dashboard.context import PageContext, html
from prosperstack_destination.dashboard.routing import ACTOR, PageRoute
from prosperstack_destination.dashboard.rule_form import (
    MAY_HAVE_ARGUMENT,
    MOST_CLEAN_UPS,
    WITH_ARGUMENT,
    NotARule,
    RuleFields,
    RuleKind,
    fields_of,
    fields_sent,
    read_name,
    written_name,
)
from prosperstack_destination.dashboard.text_diff import Line, diff_lines
from prosperstack_destination.errors import InvalidCall, MappingConflict, ProblemsRise
from prosperstack_destination.mapping import yaml_editor
from prosperstack_destination.mapping.mapping_file import Fault, InvalidMapping, ParsedMapping
from prosperstack_destination.mapping.rules import SUBSCRIPTION, CreateMissing, Rule, Rules
from prosperstack_destination.mapping.transforms import TRANSFORMS, Transform
from prosperstack_destination.mapping.yaml_reader import YamlError
from prosperstack_destination.store import mappings
from prosperstack_destination.store.mappings import MappingVersion

#: Rows for transforms in a form, and empty rows in addition to those of the rule.
ROWS: Final = 3
MORE_ROWS: Final = 2
#: Properties and traits that a form offers, and how long the names of those are; others can be written.
OFFERED: Final = 300
TRAITS_OFFERED: Final = 200
LONGEST_OFFERED: Final = 60
#: What is shown of a person's traits, in characters.
CONTEXT: Final = 20_000
#: The longest note, as in the API.
NOTE: Final = 200


@dataclass(frozen=True, slots=True)
class Draft:
    """A text that somebody works at."""

    #: With the rule of the form put into it.
    text: str
    #: The version that it was made from.
    based_on: int
    fields: RuleFields
    #: Whom it is tried out on; "": on one whom it changes.
    email: str = ""
    #: Why the form's rule is not in the text.
    wrong: str | None = None
    #: What it says; None: it has faults.
    read: ParsedMapping | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def expects(self) -> int:
        """The version that has to be in force when it is applied: what the text says of that goes first."""
        return self.based_on if self.read is None or self.read.based_on is None else self.read.based_on


class MappingEditingPages:
    """The pages of it."""

    def __init__(self) -> None:
        #: One text at a time is understood: that takes a processor a while, and somebody who types sends many.
        self._turn = asyncio.Lock()

    def pages(self) -> list[PageRoute]:
        """Its routes."""
        return [
            PageRoute("/mapping/edit", self._begin),
            PageRoute("/mapping/edit", self._edit, "POST"),
            PageRoute("/mapping/map", self._map, "POST"),
            PageRoute("/mapping/suggested", self._suggested, "POST"),
            PageRoute("/mapping/options", self._choose, "POST"),
            PageRoute("/mapping/preview", self._preview, "POST"),
            PageRoute("/mapping/review", self._review, "POST"),
            PageRoute("/mapping/figures", self._figures, "POST"),
            PageRoute("/mapping/apply", self._apply, "POST"),
        ]

    async def _begin(self, visit: PageContext) -> Response:
        """A draft that is what is in force."""
        fields = RuleFields(target=written_name(visit.query("rule")))
        draft = await self._worked(visit, await _in_force(visit, fields), _showing)
        return await self._edited(visit, draft, try_it=False)

    async def _map(self, visit: PageContext) -> Response:
        """A draft that has a trait feed a property; where none is named, the form has the trait."""
        fields = RuleFields(
            target=written_name(visit.form.get("to", "")),
            trait=written_name(read_name(visit.form.get("trait", ""))),
        )
        draft = await _in_force(visit, fields)
        if not fields.key:
            return await self._edited(visit, await self._worked(visit, draft))
        had_one = fields.key in await visit.services.database.read(_ruled, visit)
        return await self._edited(
            visit, await self._worked(visit, draft, _with_rule), mapped=True, replaces=had_one
        )

    async def _suggested(self, visit: PageContext) -> Response:
        """A draft with a rule that is suggested against a problem."""
        try:
            fields = fields_of(Rule.model_validate_json(visit.form.get("rule", "")))
        except ValidationError:
            raise InvalidCall(
                "The form's rule cannot be read: reload the page, and try again.", field="rule"
            ) from None
        had_one = fields.key in await visit.services.database.read(_ruled, visit)
        draft = await self._worked(visit, await _in_force(visit, fields), _with_rule)
        return await self._edited(visit, draft, mapped=bool(fields.trait), replaces=had_one)

    async def _choose(self, visit: PageContext) -> Response:
        """A draft with other choices for the whole mapping, before it is applied."""
        create_missing = visit.form.get("create_missing", CreateMissing.NONE)
        if create_missing not in list(CreateMissing):
            raise InvalidCall("There is no such choice: reload the page, and choose again.", field="create_missing")
        choices: dict[str, bool | str] = {
            "forgiving_names": visit.form.get("forgiving_names") == "yes",
            "create_missing": create_missing,
        }
        before = await _in_force(visit, RuleFields())
        before = await self._worked(visit, before)
        draft = await self._worked(visit, before, partial(_with_choices, choices=choices))
        if draft.text == before.text and draft.wrong is None:
            return visit.redirect_home("mapping", said="That is how it is: there was nothing to change.")
        if draft.read is None or draft.wrong is not None:
            return await self._edited(visit, draft, status=422)
        return await self._reviewed(visit, draft)

    async def _edit(self, visit: PageContext) -> Response:
        """A draft goes on, with what the form has."""
        draft = await self._sent(visit)
        if visit.form.get("do") == "remove":
            draft = await self._worked(visit, draft, _without_rule)
        elif draft.wrong is None and draft.fields.key:
            draft = await self._worked(visit, draft, _showing)
        return await self._edited(visit, draft)

    async def _preview(self, visit: PageContext) -> Response:
        """What the draft makes of one person, as a part of a page."""
        return html(await self._tried(visit, await self._sent(visit)))

    async def _review(self, visit: PageContext) -> Response:
        """The draft before it is applied."""
        draft = await self._sent(visit)
        if draft.read is None or draft.wrong is not None:
            return await self._edited(visit, draft, status=422)
        return await self._reviewed(visit, draft)

    async def _figures(self, visit: PageContext) -> Response:
        """What the draft does to everybody, as a part of a page."""
        return html(await self._counted(visit, await self._sent(visit)))

    async def _apply(self, visit: PageContext) -> Response:
        draft = await self._sent(visit)
        if draft.read is None:
            return await self._edited(visit, draft, status=422)
        allow_unknown = visit.form.get("allow_unknown") == "yes"
        try:
            applied = await operations.apply(
                visit.services,
                visit.account,
                draft.read,
                author=ACTOR,
                based_on=draft.expects,
                source=draft.text,
                note=visit.form.get("note", "").strip()[:NOTE],
                allow_unknown=allow_unknown,
                allow_problems=visit.form.get("allow_problems") == "yes",
            )
        except ProblemsRise as refusal:
            return await self._reviewed(visit, draft, status=409, rise=refusal)
        except MappingConflict:
            return await self._reviewed(visit, draft, status=409)
        except InvalidMapping:
            return await self._reviewed(visit, draft, status=422)
        version = applied.mapping.version
        if version == applied.replaced.version:
            return visit.redirect_home(
                "mapping", said=f"Version {version} says the same: there was nothing to apply."
            )
        said = f"Version {version} is in force."
        if applied.changed:
            said += remap_notice(applied.profiles)
        return visit.redirect_home("mapping", said=said)

    async def _sent(self, visit: PageContext) -> Draft:
        """The draft of a form, with the form's rule if somebody changed that."""
        form = visit.form
        fields = fields_sent(form)
        draft = Draft(
            text=form.get("draft", "").replace("\r\n", "\n").replace("\r", "\n"),
            based_on=_number(form.get("based_on", "")),
            fields=fields,
            email=form.get("email", "").strip(),
        )
        steps: list[Callable[[Draft], Draft]] = []
        if "rebase" in form:
            steps.append(partial(_based_on, version=_number(form["rebase"])))
        if fields.mark != form.get("rule-mark", RuleFields().mark) and form.get("do") != "remove":
            steps.append(_with_rule)
        return await self._worked(visit, draft, *steps)

    async def _worked(self, visit: PageContext, draft: Draft, *steps: Callable[[Draft], Draft]) -> Draft:
        """The draft after these steps, understood."""
        async with self._turn:
            for step in steps:
                draft = await asyncio.to_thread(step, draft)
            try:
                read = await operations.parse(visit.services, visit.account, draft.text)
            except InvalidMapping as refusal:
                return replace(draft, read=None, faults=refusal.faults)
            return replace(draft, read=read, faults=read.unknown)

    async def _edited(
        self,
        visit: PageContext,
        draft: Draft,
        *,
        status: int = 200,
        mapped: bool = False,
        replaces: bool = False,
        try_it: bool = True,
    ) -> Response:
        """The editor. What is in force is tried out when the page is there; a draft that was sent, at once."""
        meaning = await visit.services.database.read(load, visit.account)
        counted, _ = visit.services.coverage.latest(visit.account.id, meaning.version)
        traits = () if counted is None else counted.traits[:TRAITS_OFFERED]
        rows = min(max(len(draft.fields.clean) + MORE_ROWS, ROWS), MOST_CLEAN_UPS)
        return visit.page(
            "mapping/edit.html",
            title="Edit the mapping",
            status=status,
            draft=draft,
            mapped=mapped,
            replaces=replaces,
            tried=await self._tried(visit, draft) if try_it else None,
            properties=_offered(meaning, draft.fields),
            traits=[written_name(each.trait) for each in traits if len(each.trait) <= LONGEST_OFFERED],
            kinds=RuleKind,
            clean_ups=[(each, Transform.model_fields[each].description or "") for each in TRANSFORMS],
            with_argument=(*WITH_ARGUMENT, *MAY_HAVE_ARGUMENT),
            clean=[*draft.fields.clean, *[("", "")] * rows][:rows],
        )

    async def _tried(self, visit: PageContext, draft: Draft) -> str:
        found: TrialResult | None = None
        if draft.read is not None:
            found = await visit.services.database.read(run_trial, visit.account, draft.read.rules, draft.email)
        context = "" if found is None else json.dumps(found.context, ensure_ascii=False, indent=2)
        return visit.fragment(
            "mapping/tried.html", draft=draft, lines=_lines(draft), tried=found, context=context[:CONTEXT]
        )

    async def _reviewed(
        self, visit: PageContext, draft: Draft, status: int = 200, rise: ProblemsRise | None = None
    ) -> Response:
        current, base = await visit.services.database.read(_versions, visit, draft.expects)
        figures = await self._counted(visit, draft) if visit.form.get("figures") == "yes" else None
        return visit.page(
            "mapping/review.html",
            title="Apply the mapping",
            status=status,
            draft=draft,
            current=current,
            base=base,
            note=visit.form.get("note", ""),
            differences=await asyncio.to_thread(_differences, current, draft.text),
            theirs=[] if base is None else await asyncio.to_thread(_differences, base, current),
            figures=figures,
            rise=rise,
        )

    async def _counted(self, visit: PageContext, draft: Draft) -> str:
        found = None
        if draft.read is not None:
            found = await operations.preview_for_account(visit.services, visit.account, draft.read.rules)
        return visit.fragment("mapping/figures.html", draft=draft, preview=found)


async def _in_force(visit: PageContext, fields: RuleFields) -> Draft:
    """What is in force, to be worked at."""
    current = await visit.services.database.read(mappings.current, visit.account.id)
    text = await asyncio.to_thread(operations.text_of, current)
    draft = Draft(text, current.version, fields)
    return await asyncio.to_thread(_based_on, draft, current.version)


def _ruled(connection: Connection, visit: PageContext) -> Collection[str]:
    """The properties that have a rule."""
    return load(connection, visit.account).rules.by_property()


def _based_on(draft: Draft, version: int) -> Draft:
    """The draft as if it had been made from another version, which its text says too if it says any."""
    draft = replace(draft, based_on=version)
    if "based_on" not in draft.text:  # to read it takes longer than the rest of a page
        return draft
    try:
        return replace(draft, text=yaml_editor.with_based_on(draft.text, version))
    except YamlError:  # its faults are told elsewhere
        return draft


def _with_rule(draft: Draft) -> Draft:
    """The draft with the form's rule, or with the reason why that is not in it."""
    try:
        return replace(draft, text=yaml_editor.with_rule(draft.text, draft.fields.rule()))
    except (NotARule, YamlError) as error:
        return replace(draft, wrong=str(error))


def _with_choices(draft: Draft, choices: Mapping[str, bool | str]) -> Draft:
    """The draft with these keys of the whole mapping as they are chosen; what is so already is not written."""
    now = Rules() if draft.read is None else draft.read.rules
    text = draft.text
    try:
        for key, value in choices.items():
            if getattr(now, key) != value:
                text = yaml_editor.with_option(text, key, value)
    except YamlError as error:
        return replace(draft, wrong=str(error))
    return replace(draft, text=text)


def _without_rule(draft: Draft) -> Draft:
    """The draft without the rule that the form shows."""
    try:
        return replace(draft, text=yaml_editor.without_rule(draft.text, draft.fields.key), fields=RuleFields())
    except YamlError as error:
        return replace(draft, wrong=str(error))


def _showing(draft: Draft) -> Draft:
    """The draft with the rule that its text has for the form's property; the fields stay where that is faulty."""
    if not draft.fields.key:
        return draft
    try:
        rule = yaml_editor.rule_in(draft.text, draft.fields.key)
        return draft if rule is None else replace(draft, fields=fields_of(Rule.model_validate(rule)))
    except (YamlError, ValidationError):
        return draft


def _offered(meaning: AccountMapping, fields: RuleFields) -> list[tuple[str, str]]:
    """The properties that a rule may be for: as the form sends them, and in words."""
    found = [(each.key, f"{each.name} ({each.key}, {each.type})") for each in meaning.catalog]
    found += [
        (f"{SUBSCRIPTION}{each.key}", f"{each.name} ({SUBSCRIPTION}{each.key}, {each.type})")
        for each in meaning.subscription_catalog
    ]
    if fields.key and fields.key not in dict(found):
        found.insert(0, (fields.key, f"{fields.key} (not in ProsperStack)"))
    return [(written_name(key), label) for key, label in found[:OFFERED]]


def _lines(draft: Draft) -> list[tuple[Fault, str]]:
    """The faults, each with the line that it is in."""
    lines = draft.text.split("\n")
    return [
        (each, "" if each.place is None or each.place.line > len(lines) else lines[each.place.line - 1].strip())
        for each in draft.faults
    ]


def remap_notice(profiles: int) -> str:
    """How many are gone through after a change, as a sentence that goes on after another one."""
    who = "One profile is" if profiles == 1 else f"{profiles:,} profiles are"
    return f" {who} looked at again, and what differs is sent."


def _versions(
    connection: Connection, visit: PageContext, based_on: int
) -> tuple[MappingVersion, MappingVersion | None]:
    """The mapping in force, and the one that a draft was made from where that is another one and is known."""
    current = mappings.current(connection, visit.account.id)
    if based_on == current.version:
        return current, None
    return current, mappings.of_version(connection, visit.account.id, based_on)


def _differences(old: MappingVersion, new: MappingVersion | str) -> tuple[Line, ...]:
    return diff_lines(operations.text_of(old), new if isinstance(new, str) else operations.text_of(new))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0

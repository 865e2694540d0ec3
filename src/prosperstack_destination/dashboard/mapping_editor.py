"""Mapping editor: edit a draft of the mapping file, preview it on one person or on all profiles, and apply it.

An account has at most one draft, which is stored with every change and shared by all operators. A form names the
revision that it was made from, so that no form overwrites the changes of another one unseen.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from pydantic import ValidationError
from starlette.responses import Response

from prosperstack_destination.account_mapping import AccountMapping
from prosperstack_destination.admin import mapping as operations
from prosperstack_destination.admin import mapping_drafts
from prosperstack_destination.admin.mapping import TrialResult, run_trial
from prosperstack_destination.dashboard.mapping_draft import (
    Draft,
    current_draft,
    discard,
    draft_bar,
    save_draft,
    with_base,
)
from prosperstack_destination.dashboard.routing import ACTOR, PageContext, PageRoute, html
from prosperstack_destination.dashboard.rule_form import (
    EXAMPLES,
    MAX_TRANSFORMS,
    InvalidRule,
    RuleFields,
    RuleKind,
    fields_from_form,
    fields_of,
    read_name,
    written_name,
)
from prosperstack_destination.dashboard.text_diff import Line, diff_lines
from prosperstack_destination.errors import InvalidCall, MappingConflict, ProblemsRise
from prosperstack_destination.mapping import yaml_editor
from prosperstack_destination.mapping.mapping_file import Fault, InvalidMapping
from prosperstack_destination.mapping.rules import SUBSCRIPTION, CreateMissing, Rule, Rules
from prosperstack_destination.mapping.transforms import TRANSFORMS, WITHOUT_ARGUMENT, Transform
from prosperstack_destination.mapping.yaml_reader import YamlError
from prosperstack_destination.store.mappings import MappingVersion

#: Minimum transform rows in the form, and empty rows after those of the rule.
MIN_ROWS: Final = 3
EXTRA_ROWS: Final = 2
#: Maximum properties and traits in the form's lists, and maximum length of a listed trait name.
MAX_PROPERTIES: Final = 300
MAX_TRAITS: Final = 200
MAX_LISTED_NAME: Final = 60
#: Maximum length of a trait's sample in the form, in characters.
MAX_SAMPLE: Final = 60
#: Maximum length of the shown expression input, in characters.
MAX_INPUT: Final = 20_000
#: Maximum length of a note in characters, as in the API.
MAX_NOTE: Final = 200


class MappingEditorPages:
    """Routes of the editor."""

    def __init__(self) -> None:
        #: Limits parsing to one text at a time: it is CPU-bound, and typing sends many requests.
        self._parse_lock = asyncio.Lock()

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("/mapping/edit", self._start),
            PageRoute("/mapping/edit", self._edit, "POST"),
            PageRoute("/mapping/map", self._map, "POST"),
            PageRoute("/mapping/suggested", self._add_suggested, "POST"),
            PageRoute("/mapping/options", self._set_options, "POST"),
            PageRoute("/mapping/preview", self._preview, "POST"),
            PageRoute("/mapping/review", self._review_stored),
            PageRoute("/mapping/review", self._review, "POST"),
            PageRoute("/mapping/discard", discard, "POST"),
            PageRoute("/mapping/figures", self._figures, "POST"),
            PageRoute("/mapping/apply", self._apply, "POST"),
        ]

    async def _start(self, context: PageContext) -> Response:
        """Start a draft from the current mapping."""
        fields = RuleFields(target=written_name(context.query("rule")))
        draft = await self._parse(context, await current_draft(context, fields), _with_fields_of_rule)
        return await self._render_editor(context, draft, run_preview=False)

    async def _map(self, context: PageContext) -> Response:
        """Start a draft with a rule from a trait to a property; without a property, only fill the form."""
        fields = RuleFields(
            target=written_name(context.form.get("to", "")),
            trait=written_name(read_name(context.form.get("trait", ""))),
        )
        draft = await current_draft(context, fields)
        if not fields.key:
            return await self._render_editor(context, await self._parse(context, draft))
        replaces = fields.key in await _properties_with_rule(context)
        draft = await save_draft(context, await self._parse(context, draft, _with_rule))
        return await self._render_editor(context, draft, mapped=True, replaces=replaces)

    async def _add_suggested(self, context: PageContext) -> Response:
        """Start a draft with the rule suggested for a problem."""
        try:
            fields = fields_of(Rule.model_validate_json(context.form.get("rule", "")))
        except ValidationError:
            raise InvalidCall(
                "The form's rule cannot be read. Reload the page, and try again.", field="rule"
            ) from None
        replaces = fields.key in await _properties_with_rule(context)
        draft = await self._parse(context, await current_draft(context, fields), _with_rule)
        draft = await save_draft(context, draft)
        return await self._render_editor(context, draft, mapped=bool(fields.trait), replaces=replaces)

    async def _set_options(self, context: PageContext) -> Response:
        """Start a draft with other options of the whole mapping, and review it."""
        create_missing = context.form.get("create_missing", CreateMissing.NONE)
        if create_missing not in list(CreateMissing):
            raise InvalidCall("No such option. Reload the page, and choose again.", field="create_missing")
        options: dict[str, bool | str] = {
            "forgiving_names": context.form.get("forgiving_names") == "yes",
            "create_missing": create_missing,
        }
        before = await current_draft(context, RuleFields())
        before = await self._parse(context, before)
        draft = await self._parse(context, before, partial(_with_options, options=options))
        if draft.text == before.text and draft.rule_error is None:
            return context.redirect_home("mapping", flash="The options are unchanged.")
        draft = await save_draft(context, draft)
        if draft.parsed is None or draft.rule_error is not None:
            return await self._render_editor(context, draft, status=422)
        return await self._render_review(context, draft)

    async def _edit(self, context: PageContext) -> Response:
        """Continue a draft with the submitted form."""
        draft = await self._read_draft(context)
        if context.form.get("do") == "remove":
            draft = await self._parse(context, draft, _without_rule)
        elif draft.rule_error is None and draft.fields.key:
            draft = await self._parse(context, draft, _with_fields_of_rule)
        return await self._render_editor(context, await save_draft(context, draft))

    async def _preview(self, context: PageContext) -> Response:
        """Save the draft, and render its preview on one person."""
        return html(await self._render_trial(context, await save_draft(context, await self._read_draft(context))))

    async def _review_stored(self, context: PageContext) -> Response:
        """Show the stored draft before it is applied."""
        draft = await self._parse(context, await current_draft(context, RuleFields()))
        if draft.parsed is None:
            return await self._render_editor(context, draft, status=422)
        return await self._render_review(context, draft)

    async def _review(self, context: PageContext) -> Response:
        """Show the draft before it is applied."""
        draft = await save_draft(context, await self._read_draft(context))
        if draft.is_stale:
            return await self._render_editor(context, draft, status=409)
        if draft.parsed is None or draft.rule_error is not None:
            return await self._render_editor(context, draft, status=422)
        return await self._render_review(context, draft)

    async def _figures(self, context: PageContext) -> Response:
        """Render the effect of the draft on all profiles."""
        return html(await self._render_figures(context, await self._read_draft(context)))

    async def _apply(self, context: PageContext) -> Response:
        draft = await self._read_draft(context)
        if draft.parsed is None:
            return await self._render_editor(context, draft, status=422)
        allow_unknown = context.form.get("allow_unknown") == "yes"
        try:
            applied = await operations.apply(
                context.services,
                context.account,
                draft.parsed,
                author=ACTOR,
                based_on=draft.expects,
                source=draft.text,
                note=context.form.get("note", "").strip()[:MAX_NOTE],
                allow_unknown=allow_unknown,
                allow_problems=context.form.get("allow_problems") == "yes",
            )
        except ProblemsRise as refusal:
            return await self._render_review(context, draft, status=409, rise=refusal)
        except MappingConflict:
            return await self._render_review(context, draft, status=409)
        except InvalidMapping:
            return await self._render_review(context, draft, status=422)
        await context.services.database.write(mapping_drafts.discard, context.account)
        version = applied.mapping.version
        if version == applied.replaced.version:
            return context.redirect_home(
                "mapping", flash=f"The draft equals version {version}. Nothing was applied."
            )
        flash = f"Version {version} is applied."
        if applied.changed:
            flash += remap_notice(applied.profiles)
        return context.redirect_home("mapping", flash=flash)

    async def _read_draft(self, context: PageContext) -> Draft:
        """Return the draft of a form, with the form's rule if it was edited."""
        form = context.form
        fields = fields_from_form(form)
        draft = Draft(
            text=form.get("draft", "").replace("\r\n", "\n").replace("\r", "\n"),
            based_on=_number(form.get("based_on", "")),
            fields=fields,
            email=form.get("email", "").strip(),
            revision=_number(form["revision"]) if "revision" in form and form.get("do") != "take-over" else None,
        )
        steps: list[Callable[[Draft], Draft]] = []
        if "rebase" in form:
            steps.append(partial(with_base, version=_number(form["rebase"])))
        if fields.mark != form.get("rule-mark", RuleFields().mark) and form.get("do") != "remove":
            steps.append(_with_rule)
        return await self._parse(context, draft, *steps)

    async def _parse(self, context: PageContext, draft: Draft, *steps: Callable[[Draft], Draft]) -> Draft:
        """Return the draft after these steps, parsed."""
        async with self._parse_lock:
            for step in steps:
                draft = await asyncio.to_thread(step, draft)
            try:
                parsed = await operations.parse(context.services, context.account, draft.text)
            except InvalidMapping as refusal:
                return replace(draft, parsed=None, faults=refusal.faults)
            return replace(draft, parsed=parsed, faults=parsed.unknown)

    async def _render_editor(
        self,
        context: PageContext,
        draft: Draft,
        *,
        status: int = 200,
        mapped: bool = False,
        replaces: bool = False,
        run_preview: bool = True,
    ) -> Response:
        """Render the editor. ``run_preview``: with the preview; otherwise the browser loads it."""
        account_mapping, _ = await context.services.database.read(operations.load_mapping, context.account)
        counted, _ = context.services.coverage.latest(context.account.id, account_mapping.version)
        traits = () if counted is None else counted.traits[:MAX_TRAITS]
        rows = min(max(len(draft.fields.clean) + EXTRA_ROWS, MIN_ROWS), MAX_TRANSFORMS)
        return context.page(
            "mapping/edit.html",
            title="Edit the mapping",
            status=status,
            bar=await draft_bar(context),
            draft=draft,
            mapped=mapped,
            replaces=replaces,
            trial=await self._render_trial(context, draft) if run_preview else None,
            properties=_property_options(account_mapping, draft.fields),
            traits=[
                (written_name(each.trait), json.dumps(each.sample, ensure_ascii=False)[:MAX_SAMPLE])
                for each in traits
                if len(each.trait) <= MAX_LISTED_NAME
            ],
            kinds=RuleKind,
            transforms=[(each, Transform.model_fields[each].description or "") for each in TRANSFORMS],
            without_argument=sorted(WITHOUT_ARGUMENT),
            examples=EXAMPLES,
            clean=[*draft.fields.clean, *[("", "")] * rows][:rows],
        )

    async def _render_trial(self, context: PageContext, draft: Draft) -> str:
        trial: TrialResult | None = None
        if draft.parsed is not None:
            trial = await context.services.database.read(
                run_trial, context.account, draft.parsed.rules, draft.email, context.now
            )
        inputs = "" if trial is None else json.dumps(trial.context, ensure_ascii=False, indent=2)
        return context.fragment(
            "mapping/trial.html", draft=draft, lines=_lines(draft), trial=trial, inputs=inputs[:MAX_INPUT]
        )

    async def _render_review(
        self, context: PageContext, draft: Draft, status: int = 200, rise: ProblemsRise | None = None
    ) -> Response:
        current, base = await _versions(context, draft.expects)
        figures = await self._render_figures(context, draft) if context.form.get("figures") == "yes" else None
        return context.page(
            "mapping/review.html",
            title="Review the draft",
            status=status,
            bar=await draft_bar(context),
            draft=draft,
            current=current,
            base=base,
            note=context.form.get("note", ""),
            differences=await asyncio.to_thread(_differences, current, draft.text),
            theirs=[] if base is None else await asyncio.to_thread(_differences, base, current),
            figures=figures,
            rise=rise,
        )

    async def _render_figures(self, context: PageContext, draft: Draft) -> str:
        preview = None
        if draft.parsed is not None:
            preview = await operations.preview_for_account(context.services, context.account, draft.parsed.rules)
        return context.fragment("mapping/figures.html", draft=draft, preview=preview)


async def _properties_with_rule(context: PageContext) -> Collection[str]:
    """Return the properties that have a rule."""
    account_mapping, _ = await context.services.database.read(operations.load_mapping, context.account)
    return account_mapping.rules.by_property()


def _with_rule(draft: Draft) -> Draft:
    """Return the draft with the form's rule, or with the reason why that is not possible."""
    try:
        return replace(draft, text=yaml_editor.with_rule(draft.text, draft.fields.rule()))
    except (InvalidRule, YamlError) as error:
        return replace(draft, rule_error=str(error))


def _with_options(draft: Draft, options: Mapping[str, bool | str]) -> Draft:
    """Return the draft with these options of the whole mapping. Unchanged options are not written."""
    current = Rules() if draft.parsed is None else draft.parsed.rules
    text = draft.text
    try:
        for key, value in options.items():
            if getattr(current, key) != value:
                text = yaml_editor.with_option(text, key, value)
    except YamlError as error:
        return replace(draft, rule_error=str(error))
    return replace(draft, text=text)


def _without_rule(draft: Draft) -> Draft:
    """Return the draft without the rule of the form."""
    try:
        return replace(draft, text=yaml_editor.without_rule(draft.text, draft.fields.key), fields=RuleFields())
    except YamlError as error:
        return replace(draft, rule_error=str(error))


def _with_fields_of_rule(draft: Draft) -> Draft:
    """Return the draft with the fields of the text's rule; unchanged if that rule is missing or invalid."""
    if not draft.fields.key:
        return draft
    try:
        rule = yaml_editor.rule_in(draft.text, draft.fields.key)
        return draft if rule is None else replace(draft, fields=fields_of(Rule.model_validate(rule)))
    except (YamlError, ValidationError):
        return draft


def _property_options(account_mapping: AccountMapping, fields: RuleFields) -> list[tuple[str, str]]:
    """Return the properties that a rule may target, as pairs of form value and label."""
    options = [(each.key, f"{each.name} ({each.key}, {each.type})") for each in account_mapping.catalog]
    options += [
        (f"{SUBSCRIPTION}{each.key}", f"{each.name} ({SUBSCRIPTION}{each.key}, {each.type})")
        for each in account_mapping.subscription_catalog
    ]
    if fields.key and fields.key not in dict(options):
        options.insert(0, (fields.key, f"{fields.key} (not in ProsperStack)"))
    return [(written_name(key), label) for key, label in options[:MAX_PROPERTIES]]


def _lines(draft: Draft) -> list[tuple[Fault, str]]:
    """Return the errors, each with its line of the text."""
    lines = draft.text.split("\n")
    return [
        (each, "" if each.place is None or each.place.line > len(lines) else lines[each.place.line - 1].strip())
        for each in draft.faults
    ]


def remap_notice(profiles: int) -> str:
    """Return a sentence about the profiles that a change evaluates again, with a leading space."""
    subject = "One profile is" if profiles == 1 else f"{profiles:,} profiles are"
    return f" {subject} evaluated again, and changes are sent to ProsperStack."


async def _versions(context: PageContext, based_on: int) -> tuple[MappingVersion, MappingVersion | None]:
    """Return the current mapping, and the base of the draft if that is another stored version."""
    current, base = await context.services.database.read(operations.current_and, context.account, based_on)
    return current, None if based_on == current.version else base


def _differences(old: MappingVersion, new: MappingVersion | str) -> tuple[Line, ...]:
    return diff_lines(operations.text_of(old), new if isinstance(new, str) else operations.text_of(new))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0

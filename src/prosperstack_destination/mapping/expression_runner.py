"""Running expressions, with an end to how much work one person's may be.

JMESPath has no loops, but its results can double with every few characters (``[@,@] | [@,@] | …``), and a
projection runs over as much as a person's traits hold. So every step is counted, and whatever an expression builds
is weighed before it goes on: all that is alive stays as small as the budget.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter
from pydantic import JsonValue
from pydantic_core import from_json, to_json

from prosperstack_destination.mapping.expressions import Expression, Node
from prosperstack_destination.storable import MAX_INT64, storable

#: The work that one expression may be, in steps of about half a microsecond.
EXPRESSION_STEPS: Final = 50_000
#: The work that all expressions together may be for one person.
PERSON_STEPS: Final = 200_000
#: Text of so many characters weighs as much as one step.
_TEXT_STEP: Final = 64


#: Functions that look into the parts of what they are given; the others look at its items and no further. None of
#: them makes more of what it is given: only lists and objects that an expression builds can have a part twice.
_DEEP: Final = frozenset({"to_string", "contains"})


#: Python's names of types in jmespath's errors, as JMESPath has them.
_KINDS: Final = {
    "NoneType": "null",
    "str": "string",
    "int": "number",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}


class EvaluationError(ValueError):
    """The expression has no value for this person; ``str()`` says why, without quoting anybody's values."""


#: The largest value that an expression may give, as JSON in bytes: as large as an event may be.
MAX_RESULT: Final = 64 * 1024
#: Text of at most this many characters fits into `MAX_RESULT`: JSON writes a character in at most 6 bytes.
_SHORT_RESULT: Final = MAX_RESULT // 6 - 2


class _StepLimitExceeded(Exception):
    pass


class ExpressionRunner:
    """The expressions of one person; their work counts together.

    ``context`` makes what they see, when the first of them needs it: most rules are no more than paths.
    """

    def __init__(self, context: Callable[[], Mapping[str, JsonValue]], steps: int = PERSON_STEPS) -> None:
        self._make = context
        self._context: Mapping[str, JsonValue] | None = None
        self._left = steps
        self._interpreter = _Interpreter()

    def value(self, expression: Expression) -> JsonValue:
        """What an expression gives. Raises `EvaluationError`, and no other exception whatever the values are."""
        if self._context is None:
            self._context = self._make()
        allowed = min(self._left, EXPRESSION_STEPS)
        interpreter = self._interpreter
        interpreter.left = allowed
        try:
            found: JsonValue = interpreter.visit(expression.tree, self._context)
        except EvaluationError:
            raise
        except _StepLimitExceeded:
            raise EvaluationError("the expression is too much work for this person's traits") from None
        except JMESPathTypeError as error:
            wanted = " or ".join(error.expected_types)
            given = _KINDS.get(error.actual_type, error.actual_type)
            said = f"{error.function_name}() takes {wanted}, not {given}"
            if given == "null":
                said += ": leave out people without the trait by a condition (when)"
            raise EvaluationError(said) from None
        except Exception as error:  # noqa: BLE001 -- jmespath's functions raise whatever Python does: total means all
            raise EvaluationError(f"the expression cannot be evaluated ({type(error).__name__})") from None
        finally:
            self._left -= allowed - max(interpreter.left, 0)
        return _bounded(found)

    def holds(self, expression: Expression) -> bool:
        """Whether a condition is true, as JMESPath has it: not false, null, or empty. Raises `EvaluationError`."""
        found = self.value(expression)
        return not (found is None or found is False or found in ("", [], {}))


def _bounded(found: JsonValue) -> JsonValue:
    """What an expression gives, where a call could have it as a trait: it can be stored, and read again.

    Raises `EvaluationError`.
    """
    if found is None or isinstance(found, bool):
        return found
    if isinstance(found, int | float) and -MAX_INT64 <= found <= MAX_INT64:
        return found
    found = storable(found)
    if isinstance(found, str) and len(found) <= _SHORT_RESULT:
        return found
    text = to_json(found)
    if len(text) > MAX_RESULT:
        raise EvaluationError("the expression gives more than 64 KB")
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:  # sums of numbers of thousands of digits, and infinities
        raise EvaluationError("the expression gives a number that is too large") from None
    return found


class _Functions(Functions):
    """jmespath's functions, which need not work out anew which types an argument may have each time."""

    def _get_allowed_pytypes(self, types: Any) -> tuple[list[str], list[Any]]:
        named = tuple(types)
        allowed = _ALLOWED.get(named)
        if allowed is None:  # there are as many as jmespath has signatures
            found: tuple[list[str], list[Any]] = super()._get_allowed_pytypes(types)  # type: ignore[misc]
            allowed = _ALLOWED[named] = found
        return allowed


_ALLOWED: Final[dict[tuple[str, ...], tuple[list[str], list[Any]]]] = {}


class _Interpreter(TreeInterpreter):
    """jmespath's interpreter, which stops when its steps are used up."""

    _functions: Functions = _Functions()
    _dict_cls = dict

    #: Steps that may still be made.
    left: int = 0

    def __init__(self) -> None:
        """Not jmespath's own, which makes anew what all can share."""

    def visit(self, node: Node, value: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise _StepLimitExceeded
        kind = node["type"]
        if kind == "field":  # most steps are: a method for it would take as long again
            return value.get(node["value"]) if isinstance(value, dict) else None
        return _METHODS[kind](self, node, value)

    def visit_multi_select_list(self, node: Any, value: Any) -> Any:
        return self._weighed(super().visit_multi_select_list(node, value))

    def visit_multi_select_dict(self, node: Any, value: Any) -> Any:
        return self._weighed(super().visit_multi_select_dict(node, value))

    def visit_flatten(self, node: Any, value: Any) -> Any:
        return self._counted(super().visit_flatten(node, value))

    def visit_slice(self, node: Any, value: Any) -> Any:
        return self._counted(super().visit_slice(node, value))

    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = self.visit(node["children"][0], value), self.visit(node["children"][1], value)
        if node["value"] not in ("eq", "ne"):
            if not _comparable(left, right):
                _refuse_to_compare(left, right)
                return None
        elif isinstance(left, list | dict) and isinstance(right, list | dict):
            self._weighed(left)
            self._weighed(right)
        return self.COMPARATOR_FUNC[node["value"]](left, right)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        name, arguments = node["value"], [self.visit(child, value) for child in node["children"]]
        for each in arguments:
            if name in _DEEP:
                self._weighed(each)
            elif isinstance(each, list | dict):
                self._spend(len(each))
        if name == "join" and isinstance(arguments[0], str) and isinstance(arguments[1], list):
            self._spend(len(arguments[0]) * len(arguments[1]) // _TEXT_STEP)  # before it is as long as that
        found = self._functions.call_function(name, arguments)
        if isinstance(found, str):
            self._spend(len(found) // _TEXT_STEP)
        return found

    def _spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _StepLimitExceeded

    def _counted(self, value: Any) -> Any:
        if isinstance(value, list):
            self._spend(len(value))
        return value

    def _weighed(self, value: Any) -> Any:
        """The value, once it is known how large it is: shared parts count as often as they are reached."""
        if isinstance(value, str):
            self._spend(len(value) // _TEXT_STEP)
            return value
        if not isinstance(value, list | dict):
            return value
        left = [value]
        while left:
            part = left.pop()
            inner = part.values() if isinstance(part, dict) else part
            self._spend(1 + len(part))
            for each in inner:
                if isinstance(each, str):
                    self._spend(len(each) // _TEXT_STEP)
                elif isinstance(each, list | dict):
                    left.append(each)
        return value


def _comparable(left: object, right: object) -> bool:
    """Numbers have an order, and so have texts; one of each has none."""
    if isinstance(left, str) or isinstance(right, str):
        return isinstance(left, str) and isinstance(right, str)
    return _is_number(left) and _is_number(right)


def _refuse_to_compare(left: object, right: object) -> None:
    """Raise `EvaluationError` for text and a number: JMESPath gives null, which would delete a value unseen.

    Blank text says as little as null.
    """
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str) and one.strip() and _is_number(other):
            raise EvaluationError("text is compared as a number: put it into to_number(), or send a number")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    name.removeprefix("visit_"): getattr(_Interpreter, name)
    for name in dir(_Interpreter)
    if name.startswith("visit_")
}


#: Nobody is in any audience, as far as is known.
NO_AUDIENCES: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MappingInput:
    """One person."""

    traits: Mapping[str, JsonValue]
    user_id: str | None = None
    anonymous_id: str | None = None

    def context(self, audiences: Set[str] = NO_AUDIENCES) -> dict[str, JsonValue]:
        """What expressions see: of ``audiences``, those that the person is in, in order."""
        joined: list[JsonValue] = [name for name in sorted(audiences) if _is_in(self.traits.get(name))]
        return {
            "traits": self.traits if isinstance(self.traits, dict) else dict(self.traits),
            "userId": self.user_id,
            "anonymousId": self.anonymous_id,
            "audiences": joined,
        }


def _is_in(membership: JsonValue) -> bool:
    """Whether an audience's trait says that the person is in; journeys send the text "true"."""
    return membership is True or (isinstance(membership, str) and membership.strip().lower() == "true")

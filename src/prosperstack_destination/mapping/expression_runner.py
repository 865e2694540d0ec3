"""Expression runner: evaluates expressions for one profile within a budget of steps.

JMESPath has no loops, but its results can double with every few characters (``[@,@] | [@,@] | …``), and a JMESPath
projection iterates over all of a profile's traits. The runner therefore counts every step and the size of every
value that an expression builds, so that the budget bounds time and memory.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter
from pydantic import JsonValue
from pydantic_core import from_json, to_json

from prosperstack_destination.call_facts import SOURCE_FACT, context_path
from prosperstack_destination.mapping.coercion import CoercionError
from prosperstack_destination.mapping.expressions import Expression, Node
from prosperstack_destination.mapping.functions import FUNCTIONS, Function, FunctionContext
from prosperstack_destination.storable_text import MAX_INT64, storable

#: Budget of one expression, in steps of about half a microsecond.
EXPRESSION_STEPS: Final = 50_000
#: Budget of all expressions for one profile, in steps.
PROFILE_STEPS: Final = 200_000
#: Characters of text that cost one step.
_TEXT_STEP: Final = 64


#: Functions that read their arguments at any depth; the others read only the items. No function copies parts of its
#: arguments: only lists and objects that an expression builds can contain a part twice.
_DEEP: Final = frozenset({"to_string", "contains"})


#: JMESPath's names of the Python types in jmespath's errors.
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
    """An expression has no value for this profile; ``str()`` is the reason, without values of traits."""


#: Largest result of an expression, as JSON in bytes: the size limit of a call.
MAX_RESULT: Final = 64 * 1024
#: Text of at most this many characters fits into `MAX_RESULT`: JSON writes a character in at most 6 bytes.
_SHORT_RESULT: Final = MAX_RESULT // 6 - 2


class _StepLimitExceeded(Exception):
    pass


class ExpressionRunner:
    """Evaluates the expressions of one profile, which share a budget of steps.

    ``context`` returns their input, and ``functions`` that of functions. The first expression calls both; most
    rules are paths and need none.
    """

    def __init__(
        self,
        context: Callable[[], Mapping[str, JsonValue]],
        steps: int = PROFILE_STEPS,
        functions: Callable[[], FunctionContext] = FunctionContext,
    ) -> None:
        self._build_context = context
        self._build_functions = functions
        self._context: Mapping[str, JsonValue] | None = None
        self._left = steps
        self._interpreter = _Interpreter()

    def value(self, expression: Expression, traits: Mapping[str, JsonValue] | None = None) -> JsonValue:
        """Return the value of an expression; ``traits`` replace those of the input.

        Raises `EvaluationError`, and no other exception for any values.
        """
        if self._context is None:
            self._context = self._build_context()
            self._interpreter.context = self._build_functions()
        context = self._context if traits is None else {**self._context, "traits": traits}
        allowed = min(self._left, EXPRESSION_STEPS)
        interpreter = self._interpreter
        interpreter.left = allowed
        try:
            result: JsonValue = interpreter.visit(expression.tree, context)
        except EvaluationError:
            raise
        except _StepLimitExceeded:
            raise EvaluationError("the expression is too much work for this person's traits") from None
        except JMESPathTypeError as error:
            expected = " or ".join(error.expected_types)
            actual = _KINDS.get(error.actual_type, error.actual_type)
            message = f"{error.function_name}() takes {expected}, not {actual}"
            if actual == "null":
                message += ": leave out people without the trait by a condition (when)"
            raise EvaluationError(message) from None
        except Exception as error:  # noqa: BLE001 -- jmespath's functions raise any of Python's exceptions
            raise EvaluationError(f"the expression cannot be evaluated ({type(error).__name__})") from None
        finally:
            self._left -= allowed - max(interpreter.left, 0)
        return _bounded(result)

    def is_true(self, expression: Expression) -> bool:
        """Return whether a condition is true by JMESPath: not false, null or empty. Raises `EvaluationError`."""
        return _is_true(self.value(expression))


def _is_true(value: JsonValue) -> bool:
    return not (value is None or value is False or value in ("", [], {}))


def _is_blank(value: JsonValue) -> bool:
    return isinstance(value, str) and not value.strip()


def _bounded(result: JsonValue) -> JsonValue:
    """Return a result in storable form. Raises `EvaluationError` for a result that no trait of a call could be."""
    if result is None or isinstance(result, bool):
        return result
    if isinstance(result, int | float) and -MAX_INT64 <= result <= MAX_INT64:
        return result
    result = storable(result)
    if isinstance(result, str) and len(result) <= _SHORT_RESULT:
        return result
    text = to_json(result)
    if len(text) > MAX_RESULT:
        raise EvaluationError("the expression gives more than 64 KB")
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:  # infinities, and sums with thousands of digits
        raise EvaluationError("the expression gives a number that is too large") from None
    return result


class _Functions(Functions):
    """Functions of jmespath, with the accepted types of each signature cached."""

    def _get_allowed_pytypes(self, types: Any) -> tuple[list[str], list[Any]]:
        named = tuple(types)
        allowed = _ALLOWED.get(named)
        if allowed is None:  # bounded by the number of jmespath's signatures
            result: tuple[list[str], list[Any]] = super()._get_allowed_pytypes(types)  # type: ignore[misc]
            allowed = _ALLOWED[named] = result
        return allowed


_ALLOWED: Final[dict[tuple[str, ...], tuple[list[str], list[Any]]]] = {}


class _Interpreter(TreeInterpreter):
    """Interpreter of jmespath that stops when its budget is spent."""

    _functions: Functions = _Functions()
    _dict_cls = dict

    #: Steps left in the budget.
    left: int = 0
    context: FunctionContext = FunctionContext()

    def __init__(self) -> None:
        """Skip jmespath's constructor, which creates objects that all interpreters can share."""

    def visit(self, node: Node, value: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise _StepLimitExceeded
        kind = node["type"]
        if kind == "field":  # the most frequent step, inlined for speed
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
                _refuse_comparison(left, right)
                return None
        elif isinstance(left, list | dict) and isinstance(right, list | dict):
            self._weighed(left)
            self._weighed(right)
        return self.COMPARATOR_FUNC[node["value"]](left, right)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        name = node["value"]
        function = FUNCTIONS.get(name)
        if function is not None:
            return self._call(function, node["children"], value)
        arguments = [self.visit(child, value) for child in node["children"]]
        for each in arguments:
            if name in _DEEP:
                self._weighed(each)
            elif isinstance(each, list | dict):
                self._spend(len(each))
        if name == "join" and isinstance(arguments[0], str) and isinstance(arguments[1], list):
            self._spend(len(arguments[0]) * len(arguments[1]) // _TEXT_STEP)  # before the text is built
        result = self._functions.call_function(name, arguments)
        if isinstance(result, str):
            self._spend(len(result) // _TEXT_STEP)
        return result

    def _call(self, function: Function, children: Sequence[Node], value: Any) -> Any:
        """Return the result of a function that JMESPath lacks. Raises `EvaluationError`."""
        if function.name == "if":
            condition = self.visit(children[0], value)
            branch = 1 if _is_true(condition) else 2
            return self.visit(children[branch], value) if branch < len(children) else None
        if function.name == "coalesce":
            results = (self.visit(child, value) for child in children)
            return next((each for each in results if not (each is None or _is_blank(each))), None)
        arguments = [self._weighed(self.visit(child, value)) for child in children]
        if function.name == "regex_replace" and isinstance(arguments[0], str):
            self._spend(len(arguments[0]) // 2)  # each character may be a match, of ten microseconds
        try:
            return self._weighed(function.call(self.context, arguments))
        except CoercionError as error:
            raise EvaluationError(f"{function.name}(): {error}") from None

    def _spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _StepLimitExceeded

    def _counted(self, value: Any) -> Any:
        if isinstance(value, list):
            self._spend(len(value))
        return value

    def _weighed(self, value: Any) -> Any:
        """Spend steps for the size of a value, and return it. Shared parts count each time they occur."""
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
    """Return whether two values have an order: two numbers, or two texts."""
    if isinstance(left, str) or isinstance(right, str):
        return isinstance(left, str) and isinstance(right, str)
    return _is_number(left) and _is_number(right)


def _refuse_comparison(left: object, right: object) -> None:
    """Raise `EvaluationError` for text and a number, for which JMESPath gives null and so deletes the value.

    Blank text counts as null, and raises nothing.
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


#: No audiences.
NO_AUDIENCES: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MappingInput:
    """Input of a mapping: the traits and IDs of one profile."""

    traits: Mapping[str, JsonValue]
    user_id: str | None = None
    anonymous_id: str | None = None
    #: Values with their times that rules read besides the traits: see `facts`.
    facts: Mapping[str, tuple[JsonValue, int]] = field(default_factory=dict)
    #: Present time in microseconds since the epoch; None: rules that depend on the day fail.
    now: int | None = None

    def context(self, audiences: Set[str] = NO_AUDIENCES) -> dict[str, JsonValue]:
        """Return the input of expressions, with those of ``audiences`` that contain the profile, in order."""
        joined: list[JsonValue] = [name for name in sorted(audiences) if _is_in(self.traits.get(name))]
        return {
            "traits": self.traits if isinstance(self.traits, dict) else dict(self.traits),
            "userId": self.user_id,
            "anonymousId": self.anonymous_id,
            "audiences": joined,
            "context": _context_of(self.facts) if self.facts else {},
            "source": self.facts[SOURCE_FACT][0] if SOURCE_FACT in self.facts else None,
        }


def _context_of(facts: Mapping[str, tuple[JsonValue, int]]) -> dict[str, JsonValue]:
    """Return the stored parts of the context, each in its place; a longer path goes over a shorter one."""
    context: dict[str, JsonValue] = {}
    for name in sorted(facts):
        path = context_path(name)
        if path is None:
            continue
        place = context
        for step in path[:-1]:
            inner = place.get(step)
            part: dict[str, JsonValue] = dict(inner) if isinstance(inner, dict) else {}
            place[step] = part
            place = part
        place[path[-1]] = facts[name][0]
    return context


def _is_in(membership: JsonValue) -> bool:
    """Return whether an audience's trait means membership; journeys send the text "true"."""
    return membership is True or (isinstance(membership, str) and membership.strip().lower() == "true")

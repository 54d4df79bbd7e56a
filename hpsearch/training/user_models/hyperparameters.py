"""`hp`, as a builder of the user's own gets it: a mapping with the methods of KerasTuner's HyperParameters."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from hpsearch.errors import UserCodeError
from hpsearch.formatting import join_words
from hpsearch.spec.rows import Value
from hpsearch.training.user.declarations import Condition, Declaration, declare_choice, declare_number

_ABSENT: Any = object()


class MissingHyperparameterError(UserCodeError, KeyError):
    """What a builder reads is not there; a KeyError, as of any mapping, that is shown as its line."""

    __str__ = UserCodeError.__str__


class BuilderHyperparameters(Mapping[str, Any]):
    """A trial's hyperparameters.

    The methods have the names, arguments and meaning of KerasTuner's HyperParameters, except that they return the
    trial's value: the study file has the search space. What it neither fixes nor searches has the call's own default.
    """

    def __init__(self, values: Mapping[str, Any], chosen: Sequence[str] = ()) -> None:
        """Wrap the values of a trial.

        Args:
            values: of every row of the table, which has what the study's own model lacks too; reads go through to it.
            chosen: those that the study file fixes or searches.
        """
        self._values, self._chosen = values, frozenset(chosen)
        self._asked: dict[str, Value] = {}
        self._scopes: list[str] = []
        self._conditions: list[Condition] = []

    def __getitem__(self, name: str) -> Any:
        full = self._extend(name)
        if full in self._asked:
            return self._asked[full]
        if full not in self._values:
            raise MissingHyperparameterError(self._describe_missing(full))
        return self._values[full]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._values, *self._asked)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def get(self, name: str, default: Any = _ABSENT) -> Any:
        """Return the value of `name`, else `default`.

        Raises:
            MissingHyperparameterError: there is neither.
        """
        return self[name] if default is _ABSENT else super().get(name, default)

    def Int(  # noqa: N802 - KerasTuner's name
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: str = "linear",
        default: int | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """Return the value of a whole number from `min_value` to `max_value`, both included."""
        bounds = min_value, max_value
        declaration = declare_number("Int", self._extend(name), bounds, step, sampling, default)
        return self._ask(declaration, parent_name, parent_values)

    def Float(  # noqa: N802 - KerasTuner's name
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: str = "linear",
        default: float | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """Return the value of a number from `min_value` to `max_value`, both included."""
        bounds = min_value, max_value
        declaration = declare_number("Float", self._extend(name), bounds, step, sampling, default)
        return self._ask(declaration, parent_name, parent_values)

    def Choice(  # noqa: N802 - KerasTuner's name
        self,
        name: str,
        values: Sequence[Any],
        ordered: bool | None = None,
        default: Any = None,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """Return one of `values`; `ordered` changes nothing here."""
        return self._ask(declare_choice(self._extend(name), values, default), parent_name, parent_values)

    def Boolean(  # noqa: N802 - KerasTuner's name
        self, name: str, default: bool = False, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        """Return whether `name` is on."""
        return self._ask(Declaration("Boolean", self._extend(name), default), parent_name, parent_values)

    def Fixed(  # noqa: N802 - KerasTuner's name
        self, name: str, value: Value, parent_name: str | None = None, parent_values: Any = None
    ) -> Any:
        """Return `value`, unless the study file says another."""
        return self._ask(Declaration("Fixed", self._extend(name), value), parent_name, parent_values)

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put `name/` before the names that are asked for inside."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    @contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Any) -> Iterator[None]:
        """Make what is asked for inside None where the parent has none of these values.

        Raises:
            UserCodeError: the parent has not been asked for.
        """
        parent = self._extend(parent_name)
        if parent not in self._asked and parent not in self._values and parent not in self._chosen:
            raise UserCodeError(f"hp.conditional_scope({parent!r}): ask for {parent} first")
        values = tuple(parent_values) if isinstance(parent_values, list | tuple | set) else (parent_values,)
        self._conditions.append((parent, values))
        try:
            yield
        finally:
            self._conditions.pop()

    def _ask(self, declaration: Declaration, parent_name: str | None, parent_values: Any) -> Any:
        """Return the value of what is declared; None where a scope it is in, or its own parent, is not active."""
        with self.conditional_scope(parent_name, parent_values) if parent_name else nullcontext():
            declaration = replace(declaration, conditions=tuple(self._conditions))
            is_active = all(self._is_met(condition) for condition in self._conditions)
            self._declare(declaration, is_active=is_active)
            if not is_active:
                return None
            value = self._choose(declaration)
            self._asked[declaration.name] = value
            return value

    def _declare(self, declaration: Declaration, *, is_active: bool) -> None:
        """Take note of a call, whether it is in an active scope or not."""

    def _choose(self, declaration: Declaration) -> Value:
        name = declaration.name
        if name in self._chosen and name in self._values:
            return declaration.cast(self._values[name])
        return declaration.default

    def _is_met(self, condition: Condition) -> bool:
        parent, values = condition
        return self._asked.get(parent, self._values.get(parent)) in values

    def _describe_missing(self, name: str) -> str:
        own = dict.fromkeys((*sorted(self._chosen), *self._asked))
        similar = difflib.get_close_matches(name, list(self), n=1)
        hint = f"did you mean {similar[0]}?" if similar else "fix or search it in the study file"
        there = f"there are {join_words(list(own), 'and')}, and the rows of training" if own else "nothing is there yet"
        return f"hp[{name!r}]: no hyperparameter is called that: {there}; {hint}"

    def _extend(self, name: str) -> str:
        return "/".join((*self._scopes, str(name)))

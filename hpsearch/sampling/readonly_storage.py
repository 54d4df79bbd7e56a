"""A study's trials as Optuna's samplers and pruners want to see them: a storage that reads and never writes.

What a sampler or pruner wants written (parameters, system attributes) is collected and handed to the caller, who
writes it in the transaction that the attempt's fence guards. So the cached trials hold only what was committed, also
after a rollback.
"""

import copy
import json
from bisect import insort
from collections import defaultdict
from collections.abc import Container, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NoReturn

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, text

from hpsearch.metrics import Direction
from hpsearch.storage.optuna_tables import SPECIAL_VALUES, TrialWrites, parse_distribution
from hpsearch.storage.tables import trial_values

TRIALS = text(f"""
select t.trial_id, t.number, t.state::text, t.datetime_start, t.datetime_complete,
       case when own.epochs > 0 then json_build_array(own.value, 'FINITE')
            else json_build_array(v.value, v.value_type::text) end as value,
       (select json_agg(json_build_array(p.param_name, p.param_value, p.distribution_json) order by p.param_id)
          from trial_params p where p.trial_id = t.trial_id) as params,
       (select json_agg(json_build_array(i.step, i.intermediate_value, i.intermediate_value_type::text))
          from trial_intermediate_values i where i.trial_id = t.trial_id) as steps,
       (select json_agg(json_build_array(a.key, a.value_json))
          from trial_system_attributes a where a.trial_id = t.trial_id) as attributes
  from {trial_values.SOURCES}
 where t.study_id = :study_id and (t.trial_id > :newest or t.trial_id = any(:unfinished))
 order by t.number
""")

FINISHED = [state for state in TrialState if state.is_finished()]
NUMBER = attrgetter("_number")


class ReadOnlyStorage(BaseStorage):
    """The trials of one study, each finished one read once.

    `refresh` reads what is new in one query; the rest answers from memory. Made for one study and one thread.
    """

    def __init__(self, study_id: int, direction: Direction) -> None:
        self.study_id = study_id
        self._direction = StudyDirection.MAXIMIZE if direction is Direction.MAXIMIZE else StudyDirection.MINIMIZE
        self._trials: dict[int, FrozenTrial] = {}
        self._finished: dict[TrialState, list[FrozenTrial]] = defaultdict(list)
        """By state, in order of the number: a pruner asks for the complete ones at every epoch."""
        self._unfinished: dict[int, FrozenTrial] = {}
        self._newest = -1
        self._spaces: dict[str, IntersectionSearchSpace] = {}
        self._writes = TrialWrites()
        self._sequence = 0

    def refresh(self, connection: Connection) -> None:
        """Read the trials that are new or were unfinished at the last refresh."""
        arguments = {"study_id": self.study_id, "newest": self._newest, "unfinished": list(self._unfinished)}
        for row in connection.execute(TRIALS, arguments):
            self._newest = max(self._newest, row.trial_id)
            trial = _freeze(row)
            if trial is None:
                self._unfinished.pop(row.trial_id, None)
                continue
            self._trials[row.trial_id] = trial
            if trial.state.is_finished():
                self._unfinished.pop(trial._trial_id, None)
                insort(self._finished[trial.state], trial, key=NUMBER)
            else:
                self._unfinished[trial._trial_id] = trial

    def share_spaces(self, sampler: BaseSampler) -> None:
        """Let a new sampler go on with the intersection search spaces that earlier ones have computed.

        Optuna's samplers live as long as a study is optimized, and look at each finished trial once for that.
        """
        for name, space in vars(sampler).items():
            if isinstance(space, IntersectionSearchSpace):
                setattr(sampler, name, self._spaces.setdefault(name, space))

    def take_writes(self) -> TrialWrites:
        """Return what samplers and pruners have written since the last call, and forget it."""
        writes, self._writes = self._writes, TrialWrites()
        return writes

    def number_sequence_by(self, number: int) -> None:
        """Let a quasi-random sampler draw the point of trial `number`.

        Optuna's keeps the last drawn point in a study attribute, which two workers would both read before either
        writes; the trial's number is unique already.
        """
        self._sequence = number

    # What samplers and pruners call.

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.study_id

    def get_study_name_from_id(self, study_id: int) -> str:
        return str(self.study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [self._direction]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return _Sequence(self._sequence)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Store nothing: only the quasi-random sampler calls this, to count; see `number_sequence_by`."""

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = copy.copy(self._trials[trial_id])
        # Optuna notes what it suggests in the trial it was given, and that may never be stored.
        trial.params, trial.distributions = dict(trial.params), dict(trial.distributions)
        trial.system_attrs = {**trial.system_attrs, **self._writes.attributes}
        return trial

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).system_attrs

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        wanted = [self._finished[state] for state in FINISHED if states is None or state in states]
        wanted.append([trial for trial in self._unfinished.values() if states is None or trial.state in states])
        filled = [trials for trials in wanted if trials]
        trials = list(filled[0]) if len(filled) == 1 else sorted(chain.from_iterable(filled), key=NUMBER)
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._writes.parameters[param_name] = (param_value_internal, distribution)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._writes.attributes[key] = value

    # What a read-only storage refuses.

    def _refuse(self) -> NoReturn:
        raise NotImplementedError("this storage is read-only")

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        self._refuse()

    def delete_study(self, study_id: int) -> None:
        self._refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def get_all_studies(self) -> list[FrozenStudy]:
        self._refuse()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._refuse()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._refuse()

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._refuse()


class _Sequence(dict[str, Any]):
    """The point before the one a quasi-random sampler shall draw for trial `number`; trial 0 draws independently."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._before = number - 2

    def get(self, key: str, default: Any = None) -> Any:
        return max(-1, self._before) if key.startswith("qmc:") else default


def make_frozen_trial(row: Any, **more: Any) -> FrozenTrial:
    """Return a row of a query such as TRIALS as Optuna's trial; `more` is what queries name differently."""
    params = [(name, value, parse_distribution(distribution)) for name, value, distribution in row.params or ()]
    return FrozenTrial(
        number=row.number,
        state=TrialState[row.state],
        datetime_start=row.datetime_start,
        datetime_complete=row.datetime_complete,
        params={name: distribution.to_external_repr(value) for name, value, distribution in params},
        distributions={name: distribution for name, _, distribution in params},
        intermediate_values={step: SPECIAL_VALUES.get(kind, value) for step, value, kind in row.steps or ()},
        trial_id=row.trial_id,
        **more,
    )


def _freeze(row: Any) -> FrozenTrial | None:
    """Return a row of TRIALS as Optuna's trial; None for one that no sampler could learn from.

    Another program, or another version of Optuna, may store rows that cannot be read here, or let a trial complete
    without a value.
    """
    try:
        trial = make_frozen_trial(
            row,
            value=SPECIAL_VALUES.get(row.value[1], row.value[0]),
            user_attrs={},
            system_attrs={key: json.loads(value) for key, value in row.attributes or ()},
        )
    except (LookupError, TypeError, ValueError):
        return None
    return None if trial.state is TrialState.COMPLETE and trial.value is None else trial

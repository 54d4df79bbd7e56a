"""Racing in an ablation: levels that are beyond doubt after two seeds get no further one."""

from hpsearch.analysis.ablations import table as ablation_table
from hpsearch.analysis.ablations.design import read_design
from hpsearch.storage import ablations, results, studies
from hpsearch.storage.database import Connection
from hpsearch.storage.studies import Study

DETAIL = "beyond doubt after two seeds"


def drop_settled(connection: Connection, study: Study) -> int:
    """End the waiting trials of levels that are settled, and return how many; before a claim, in its transaction.

    Only the first seeds decide, so that it makes no difference which worker does it, when, or how often.

    Raises:
        NotFoundError: the study was deleted.
        UnreadableStudyError: a newer hpsearch designed it.
    """
    studies.lock(connection, study.study_id)
    row = ablations.find(connection, study.study_id)
    if row is None:  # the ablated study was deleted
        return 0
    design = read_design(study, row)
    first = ablation_table.RACED_SEEDS * design.round_size
    if not ablations.has_later_waiting(connection, study.study_id, first):
        return 0
    _, trials = results.read(connection, study.name)
    settled = ablation_table.list_settled(study.spec, design, trials)
    numbers = {number for number, place in enumerate(design.schedule) if number >= first and place in settled}
    return ablations.drop_waiting(connection, study, numbers, DETAIL)

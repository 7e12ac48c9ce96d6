"""The guards that are taken away, one at a time: those outside the Lua; those of the Lua are in tests/rules.

A new guard comes with its mutant, in the file of its family in `kinds`, which leaves it out and names the tests that notice.
"""

from typing import Final

from tests.mutants.kinds import (
    affiliations,
    answers,
    audit,
    cell,
    chain,
    counts,
    doctor,
    doors,
    drain,
    edges,
    eligibility,
    figures,
    guard,
    making_good,
    one_rule,
    overload,
    postgres,
    record,
    recovery,
    restarts,
    rights,
    service,
    way,
    witness,
)
from tests.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *drain.MUTANTS,
    *postgres.MUTANTS,
    *guard.MUTANTS,
    *recovery.MUTANTS,
    *restarts.MUTANTS,
    *doctor.MUTANTS,
    *audit.MUTANTS,
    *figures.MUTANTS,
    *cell.MUTANTS,
    *service.MUTANTS,
    *affiliations.MUTANTS,
    *doors.MUTANTS,
    *overload.MUTANTS,
    *rights.MUTANTS,
    *witness.MUTANTS,
    *way.MUTANTS,
    *answers.MUTANTS,
    *edges.MUTANTS,
    *eligibility.MUTANTS,
    *one_rule.MUTANTS,
    *record.MUTANTS,
    *chain.MUTANTS,
    *counts.MUTANTS,
    *making_good.MUTANTS,
)

"""Linear and integer programmes, solved the same way each time: the only module that knows HiGHS.

Effort is bounded by nodes, never by seconds: a plan must not depend on what else the machine does.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from yolofleet.planning.packing.problem import Flags, Floats, Ints

INFINITE = float(highspy.kHighsInf)


@dataclass(frozen=True)
class Terms:
    """The non-zero coefficients of rows, as three arrays of one length."""

    row: Ints
    column: Ints
    value: Floats


@dataclass(frozen=True)
class Program:
    """Minimise cost·x with row_lower ≤ A x ≤ row_upper and 0 ≤ x ≤ upper; whole numbers where `whole` says so."""

    cost: Floats
    upper: Floats
    terms: Terms
    row_lower: Floats
    row_upper: Floats
    whole: Flags | None = None


@dataclass(frozen=True)
class Solution:
    """What was found: values, the sum they cost, and the rows' prices (linear programmes only)."""

    values: Floats
    cost: float
    row_prices: Floats


def _quiet() -> highspy.Highs:
    highs = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (("output_flag", False), ("threads", 1), ("parallel", "off"), ("random_seed", 0)):
        highs.setOptionValue(option, value)
    return highs


def solve(program: Program, *, most_nodes: int = 200, stop_at: float | None = None) -> Solution | None:
    """Solve, or return the best that `most_nodes` branches find; None when nothing was found.

    `stop_at` is a sum that is good enough to stop at.
    """
    highs = _quiet()
    highs.setOptionValue("mip_max_nodes", most_nodes)
    highs.setOptionValue("mip_rel_gap", 0.0)
    if stop_at is not None:
        highs.setOptionValue("objective_target", float(stop_at))
    highs.passModel(_model(program))
    highs.run()
    found = highs.getInfo()
    if found.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    told = highs.getSolution()
    prices = np.array(told.row_dual) if program.whole is None else np.zeros(0)
    return Solution(np.array(told.col_value), float(found.objective_function_value), prices)


def _model(program: Program) -> highspy.HighsLp:
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(program.cost), len(program.row_lower)
    model.col_cost_, model.col_upper_ = program.cost, program.upper
    model.col_lower_ = np.zeros(len(program.cost))
    model.row_lower_, model.row_upper_ = program.row_lower, program.row_upper
    order = np.lexsort((program.terms.column, program.terms.row))
    rows = program.terms.row[order]
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.searchsorted(rows, np.arange(model.num_row_ + 1)).astype(np.int32)
    model.a_matrix_.index_ = program.terms.column[order].astype(np.int32)
    model.a_matrix_.value_ = program.terms.value[order].astype(float)
    if program.whole is not None:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        model.integrality_ = [kinds[bool(one)] for one in program.whole]
    return model


class GrowingProgram:
    """A linear programme to which rows are added between solves; each solve starts from the last."""

    def __init__(self, program: Program, *, lower: Floats) -> None:
        self._highs = _quiet()
        model = _model(program)
        model.col_lower_ = lower
        self._highs.passModel(model)

    def add_rows(self, terms: Terms, *, upper: Floats) -> None:
        """Add rows A x ≤ upper; `terms.row` counts from 0 in the new rows, in order."""
        start = np.searchsorted(terms.row, np.arange(len(upper))).astype(np.int32)
        self._highs.addRows(
            len(upper),
            np.full(len(upper), -INFINITE),
            upper.astype(float),
            len(terms.value),
            start,
            terms.column.astype(np.int32),
            terms.value.astype(float),
        )

    def solve(self) -> Solution:
        """Solve from where the last solve ended."""
        self._highs.run()
        told = self._highs.getSolution()
        cost = float(self._highs.getInfo().objective_function_value)
        return Solution(np.array(told.col_value), cost, np.array(told.row_dual))

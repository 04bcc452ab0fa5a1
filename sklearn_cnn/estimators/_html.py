"""The plan of a fitted estimator, inside the HTML that scikit-learn shows in notebooks."""

import html
from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if

from sklearn_cnn.architectures._plan import Plan


def _has_plan(estimator: Any) -> bool:
    return hasattr(estimator, "module_")


def _needs_block(estimator: Any) -> bool:
    """Whether there is a plan, and scikit-learn (before 1.7) writes no table of parameters to put it under."""
    return _has_plan(estimator) and not hasattr(BaseEstimator, "_get_params_html")


class ShowsPlan:
    """Adds the plan of a fitted estimator to its HTML, also inside a pipeline or a search.

    scikit-learn writes the HTML of all steps itself, and asks each for two things: from 1.7 on for the table of its
    parameters, below which the plan is put; and for a block of its own, all text of which it escapes, so that before
    1.7 the plan is a table in plain text.
    """

    plan_: Plan

    def _get_params_html(self, *args: Any, **kwargs: Any) -> Any:
        params = super()._get_params_html(*args, **kwargs)  # type: ignore[misc]  # scikit-learn's
        if _has_plan(self):
            table = params._html_repr
            params._html_repr = lambda: table() + _details(self.plan_)
        return params

    @available_if(_needs_block)
    def _sk_visual_block_(self) -> "_Block":
        estimators = {
            name: value
            for name, value in self.get_params(deep=False).items()  # type: ignore[attr-defined]  # scikit-learn's
            if hasattr(value, "get_params") and hasattr(value, "fit") and not isinstance(value, type)
        }
        # scikit-learn shows the parameters in a label, but inside some meta-estimators there is no label.
        plan = _Block("single", names=f"Plan: {self.plan_.title}", name_details=f"{self}\n\n{self.plan_}")
        return _Block(
            "parallel",
            estimators=[*estimators.values(), plan],
            names=[*(f"{name}: {type(value).__name__}" for name, value in estimators.items()), None],
            name_details=[*map(str, estimators.values()), None],
        )


@dataclass
class _Block:
    """What scikit-learn before 1.7 draws as a box: the attributes of its own class, which is not public."""

    kind: str
    names: Any
    name_details: Any
    estimators: Any = None
    name_caption: str | None = None
    doc_link_label: str | None = None
    dash_wrapped: bool = True

    def _sk_visual_block_(self) -> "_Block":
        return self


def _details(plan: Plan) -> str:
    """The plan, to be unfolded, in the style of scikit-learn's table of parameters."""
    return (
        f'<div class="estimator-table"><details><summary>Plan: {html.escape(plan.title)}</summary>'
        f"{plan._repr_html_()}</details></div>"
    )
